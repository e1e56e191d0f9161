"""The result of one engine at one size: the stopwatch's lines, reduced to the figures of the table."""

import json
import statistics
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.flower_app.null_app.rounds import NODES


@dataclass(frozen=True)
class Job:
    """What to measure.

    Attributes:
        engine: its name.
        size: of the model.
        rounds: after the warm-up.
        limit_s: seconds after which it is stopped.
        nodes: how many.
        block: how many rounds are played at a time, while other engines pause; 0: all.
    """

    engine: str
    size: str
    rounds: int
    limit_s: float
    nodes: int = NODES
    block: int = 0


@dataclass(frozen=True)
class Outcome:
    """Seconds of each round after the first, bytes per round, and the server's memory.

    `received` and `sent` are counted at the server's TCP connections; `loopback` is all traffic of the
    loopback interface, between any processes, with acknowledgements and headers. `peaks` are the peaks that
    `peak_rss` is the maximum or the sum of: by step of the round, or by process. `cpu_s` is the server's CPU
    time of a round. `times` are the moments of each round after the first that the engine noted.
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
    nodes: int = NODES
    block: int = 0
    cpu_s: float | None = None
    times: list[dict[str, float]] = field(default_factory=list)

    @property
    def median_s(self) -> float | None:
        """The median of the blocks' medians, or None if no round after the first finished."""
        size = self.block or len(self.seconds)
        blocks = [self.seconds[start : start + size] for start in range(0, len(self.seconds), size or 1)]
        return statistics.median(map(statistics.median, blocks)) if blocks else None

    @property
    def peak_over_base(self) -> int | None:
        """The server's peak memory over what it needs before the run."""
        if self.peak_rss is None or self.base_rss is None:
            return None
        return self.peak_rss - self.base_rss


def read_marks(path: Path) -> list[dict[str, Any]]:
    """Read the stopwatch's lines so far; a line that is still being written does not count."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]


def is_over(path: Path) -> bool:
    """Return whether the stopwatch has stopped, at the end or after an error."""
    lines = read_marks(path)
    return bool(lines) and lines[-1]["kind"] == "end"


def count_rounds(path: Path) -> int:
    """Count the finished rounds."""
    return [line["kind"] for line in read_marks(path)].count("mark") - 1


def reduce_marks(job: Job, path: Path, failure: str | None = None) -> Outcome:
    """Turn the stopwatch's lines into an outcome, also for an interrupted run."""
    lines = read_marks(path)
    marks = [line for line in lines if line["kind"] == "mark"]
    resumes = [line for line in lines if line["kind"] == "resume"]
    rounds = list(zip(resumes, marks[1:], strict=False))
    seconds = [mark["ended"] - resume["resumed"] for resume, mark in rounds]
    cpu = [mark["cpu_ended"] - resume["cpu_resumed"] for resume, mark in rounds[1:]]
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
        nodes=job.nodes,
        block=job.block,
        cpu_s=statistics.mean(cpu) if cpu else None,
        times=[mark["times"] for mark in marks[2:]],
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
