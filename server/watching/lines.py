"""A run as one line per round, where output is not a terminal."""

import signal
from collections.abc import Iterator

from fedmx.errors import StopSignal
from server.watching.figures import show_duration, show_figure, show_nodes, show_seconds
from server.watching.metrics import order
from server.watching.snapshot import FAILED, Round, Snapshot

# How many rounds are shown that were finished before the watch began.
_MOST_EARLIER = 10


class Lines:
    """Prints what is new in each snapshot."""

    def __init__(self) -> None:
        self._run_id: str | None = None
        self._round = 0

    def show(self, snapshot: Snapshot) -> None:
        """Print what is new.

        Raises:
            StopSignal: the reader of the lines has ended.
        """
        for line in self.describe(snapshot):
            _print(line)

    def report(self, note: str) -> None:
        """Print a note; an empty one means that the server answers again."""
        _print(note or "the server answers again")

    def describe(self, snapshot: Snapshot) -> Iterator[str]:
        """Yield a line for a new run, one for each new round, and one for the end of the run."""
        if snapshot.run_id != self._run_id:
            self._run_id = snapshot.run_id
            self._round = max(0, snapshot.round - _MOST_EARLIER)
            name = f" {snapshot.name}" if snapshot.name else ""
            yield f"run {snapshot.run_id or '-'}{name}: {snapshot.state}, {_count(snapshot)}"
        # A run that was resumed repeats the rounds after its checkpoint.
        self._round = min(self._round, snapshot.round)
        for row in snapshot.rounds:
            if row.number > self._round:
                yield _describe(row, snapshot.num_rounds)
        self._round = snapshot.round
        # The reason of a failure is the error with which the program ends.
        if snapshot.has_ended and snapshot.state != FAILED:
            yield _describe_end(snapshot)


def _count(snapshot: Snapshot) -> str:
    total = f" of {snapshot.num_rounds}" if snapshot.num_rounds else ""
    return f"round {snapshot.round}{total}"


def _describe(row: Round, total: int) -> str:
    metrics = row.evaluate or row.train
    absent = {"left out": row.left_out, "missing": row.missing}
    parts = [
        *(f"{name} {show_figure(metrics[name])}" for name in order(metrics)),
        show_nodes(row.nodes),
        *(f"{count} {what}" for what, count in absent.items() if count),
        f"{show_seconds(row.seconds)} s",
    ]
    return f"round {row.number}{f' of {total}' if total else ''}: {', '.join(parts)}"


def _describe_end(snapshot: Snapshot) -> str:
    parts = [f"{snapshot.state}, {_count(snapshot)}"]
    if snapshot.started and snapshot.finished:
        parts.append(show_duration((snapshot.finished - snapshot.started).total_seconds()))
    if snapshot.reason:
        parts.append(snapshot.reason)
    if snapshot.model_sha256:
        parts.append(f"model_sha256 {snapshot.model_sha256}")
    return ", ".join(parts)


def _print(line: str) -> None:
    try:
        print(line, flush=True)
    except BrokenPipeError:
        # As in `python -m server watch | head`.
        raise StopSignal(signal.SIGPIPE) from None
