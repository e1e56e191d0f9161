"""Reads what the server has written of a run so far, in the run's folder."""

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Round:
    """One line of a run's history.

    Attributes:
        metrics: the task's metrics of the evaluation, without the loss.
    """

    number: int
    nodes: int
    train_loss: float | None
    loss: float | None
    metrics: Mapping[str, float]
    seconds: float | None

    @classmethod
    def parse(cls, line: str) -> "Round":
        """Parse a line of `history.jsonl`."""
        values = json.loads(line)
        trained = (values.get("train") or {}).get("metrics", {})
        evaluated = (values.get("evaluate") or {}).get("metrics", {})
        return cls(
            number=values["round"],
            nodes=len(values.get("nodes") or ()),
            train_loss=trained.get("loss"),
            loss=evaluated.get("loss"),
            metrics={name: value for name, value in evaluated.items() if name != "loss"},
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
