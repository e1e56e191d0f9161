"""Reports of rounds, for what reads them."""

from typing import Any

from server.leases import Membership
from server.report import RoundReport, Seconds, StepReport


def make_report(number: int, loss: float | None = 0.5, **replaced: Any) -> RoundReport:
    """Build the report of a round of two nodes; a loss of None is a round without evaluation."""
    fields: dict[str, Any] = {
        "round": number,
        "rounds": 9,
        "learning_rate": 0.05,
        "train": StepReport(20, {"loss": 0.5}),
        "evaluate": None if loss is None else StepReport(20, {"loss": loss}),
        "nodes": [],
        "only_evaluated": [],
        "rejected": [],
        "undefined": [],
        "missing": [],
        "left_out": [],
        "privacy": None,
        "seconds": Seconds(0.0, 0.0, 0.0, 0.0, 0.0),
        "is_complete": True,
        "membership": Membership({"a": 0, "b": 1}, 2),
        "time": "2026-01-02T03:04:05+00:00",
    }
    return RoundReport(**{**fields, **replaced})
