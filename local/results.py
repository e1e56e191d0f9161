"""Reads what a run has written so far in its folder. Writing it is the server's."""

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_NO_METRICS = ("loss", "num_examples")


@dataclass(frozen=True)
class Round:
    """One line of a run's history.

    Attributes:
        metrics: what the task measures beside the loss, in the evaluation.
    """

    number: int
    nodes: int
    train_loss: float | None
    loss: float | None
    metrics: Mapping[str, float]
    seconds: float | None

    @classmethod
    def parse(cls, line: str) -> "Round":
        """Read a line of `history.jsonl`."""
        values = json.loads(line)
        train, evaluate = values.get("train") or {}, values.get("evaluate") or {}
        return cls(
            number=values["round"],
            nodes=len(values.get("nodes") or ()),
            train_loss=train.get("loss"),
            loss=evaluate.get("loss"),
            metrics={name: value for name, value in evaluate.items() if name not in _NO_METRICS},
            seconds=(values.get("seconds") or {}).get("total"),
        )


class RunWatch:
    """Finds the run that a server starts or continues after this watch was made.

    It finds none before it is opened: until the server has taken the runs folder, what changes is another's.
    """

    def __init__(self, runs_dir: Path) -> None:
        """Remember what the newest run is now, so that it is not taken for the one to come."""
        self._latest = runs_dir / "latest"
        self._before = self._read_mark()
        self._is_open = False

    def open(self) -> None:
        """Begin to look: the server has the folder for itself."""
        self._is_open = True

    def find(self) -> Path | None:
        """Give the run's folder, by its own name."""
        mark = self._read_mark() if self._is_open else None
        return None if mark is None or mark == self._before else mark[0]

    def _read_mark(self) -> tuple[Path, int, int] | None:
        # A server that starts or continues a run writes run.json anew.
        try:
            folder = self._latest.resolve()
            status = (folder / "run.json").stat()
        except OSError:
            return None
        return folder, status.st_ino, status.st_mtime_ns


def read_rounds(folder: Path) -> list[Round]:
    """Read a run's finished rounds; a line still being written is left for the next time, a torn one out."""
    try:
        text = (folder / "history.jsonl").read_text()
    except OSError:
        return []
    rounds = []
    for line in text.splitlines(keepends=True):
        with suppress(ValueError, KeyError):
            rounds.append(Round.parse(line if line.endswith("\n") else ""))
    return rounds


def read_run(folder: Path) -> Mapping[str, Any]:
    """Read what `run.json` says."""
    values: Mapping[str, Any] = json.loads((folder / "run.json").read_text())
    return values
