"""Reads what the server has written of a run so far, in the run's folder."""

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_SETTINGS = {"target": "TARGET", "patience": "PATIENCE", "epsilon": "MAX_EPSILON"}
"""Reason for which a run stopped -> the setting behind it."""


@dataclass(frozen=True)
class Round:
    """One line of a run's history.

    Attributes:
        train: the metrics of the nodes' training.
        evaluate: the metrics of the evaluation; empty if there was none.
    """

    number: int
    nodes: int
    train: Mapping[str, float]
    evaluate: Mapping[str, float]
    seconds: float | None

    @classmethod
    def parse(cls, line: str) -> "Round":
        """Parse a line of `history.jsonl`."""
        values = json.loads(line)
        return cls(
            number=values["round"],
            nodes=len(values.get("nodes") or ()),
            train=(values.get("train") or {}).get("metrics", {}),
            evaluate=(values.get("evaluate") or {}).get("metrics", {}),
            seconds=(values.get("seconds") or {}).get("total"),
        )


def read_rounds(folder: Path) -> list[Round]:
    """Read the finished rounds of a run; a line that is incomplete or invalid is skipped."""
    try:
        text = (folder / "history.jsonl").read_text(errors="replace")
    except OSError:
        return []
    rounds = []
    for line in text.splitlines(keepends=True):
        with suppress(ValueError, KeyError):
            rounds.append(Round.parse(line if line.endswith("\n") else ""))
    return rounds


def read_run(folder: Path) -> Mapping[str, Any]:
    """Read `run.json`."""
    values: Mapping[str, Any] = json.loads((folder / "run.json").read_text())
    return values


def describe_stop(facts: Mapping[str, Any]) -> str | None:
    """Describe why a finished run ended before its last round; None if it did not."""
    reason = facts.get("stopped")
    if reason is None:
        return None
    setting = _SETTINGS[reason]
    settings = facts["settings"]
    return (
        f"stopped by {setting}={settings[setting]} after round {facts['rounds']} of {settings['NUM_ROUNDS']}"
    )
