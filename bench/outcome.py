"""The result of one engine at one size: the stopwatch's lines, reduced to the figures of the table."""

import json
import statistics
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Job:
    """What to measure: an engine, a model size, the rounds after the warm-up, and a time limit."""

    engine: str
    size: str
    rounds: int
    limit_s: float


@dataclass(frozen=True)
class Outcome:
    """Seconds of each round after the first, bytes per round, and the server's memory.

    `received` and `sent` are counted at the server's TCP connections; `loopback` is all traffic of the
    loopback interface, between any processes, with acknowledgements and headers. `peaks` are the peaks that
    `peak_rss` is the maximum or the sum of: by step of the round, or by process.
    """

    engine: str
    size: str
    warm_up_s: float | None = None
    seconds: list[float] = field(default_factory=list)
    received: int | None = None
    sent: int | None = None
    loopback: int | None = None
    base_rss: int | None = None
    peak_rss: int | None = None
    peaks: dict[str, int] = field(default_factory=dict)
    failure: str | None = None

    @property
    def median_s(self) -> float | None:
        """The median round, or None if no round after the first finished."""
        return statistics.median(self.seconds) if self.seconds else None


def read_marks(path: Path) -> list[dict[str, Any]]:
    """Read the stopwatch's lines so far; a line that is still being written does not count."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]


def is_over(path: Path) -> bool:
    """Return whether the stopwatch has stopped, at the end or after an error."""
    lines = read_marks(path)
    return bool(lines) and lines[-1]["kind"] == "end"


def reduce_marks(job: Job, path: Path, failure: str | None = None) -> Outcome:
    """Turn the stopwatch's lines into an outcome, also for an interrupted run."""
    lines = read_marks(path)
    marks = [line for line in lines if line["kind"] == "mark"]
    seconds = [after["ended"] - before["resumed"] for before, after in pairwise(marks)]
    peaks = _highest(mark["peaks"] for mark in marks)
    errors = [line["error"] for line in lines if line["kind"] == "end" and line["error"]]
    return Outcome(
        engine=job.engine,
        size=job.size,
        warm_up_s=seconds[0] if seconds else None,
        seconds=seconds[1:],
        received=_per_round(marks, "received"),
        sent=_per_round(marks, "sent"),
        loopback=_per_round(marks, "loopback"),
        base_rss=lines[0]["base_rss"] if lines else None,
        peak_rss=max(peaks.values(), default=None),
        peaks=peaks,
        failure=failure or (errors[0] if errors else None),
    )


def _per_round(marks: list[dict[str, Any]], key: str) -> int | None:
    """Average a counter over the rounds after the warm-up."""
    # The start, the end of the warm-up, and the end of at least one round.
    if len(marks) < 3:  # noqa: PLR2004 - see above
        return None
    return int((marks[-1][key] - marks[1][key]) / (len(marks) - 2))


def _highest(notes: Iterable[dict[str, int]]) -> dict[str, int]:
    """Return each step's peak memory over all rounds."""
    highest: dict[str, int] = {}
    for note in notes:
        for step, peak in note.items():
            highest[step] = max(peak, highest.get(step, 0))
    return highest
