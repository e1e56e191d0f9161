"""The table of `runs list`."""

from collections.abc import Iterator, Sequence

from fedmx.log import printable
from server.record.summary import RunSummary
from server.run_commands import text

_HEADER = ("ID", "NAME", "STATUS", "ROUNDS", "BEST", "DURATION", "STARTED")
_LONGEST_NAME = 24


def list_lines(runs: Sequence[RunSummary]) -> Iterator[str]:
    """Yield the table's lines, one per run, in the order of the runs."""
    rows = [
        (
            printable(run.run_id),
            text.shorten(run.name, _LONGEST_NAME),
            printable(run.status),
            show_rounds(run.rounds, run.num_rounds),
            text.show_best(run.best),
            text.show_duration(run.seconds),
            text.show_time(run.started),
        )
        for run in runs
    ]
    yield from text.make_table(_HEADER, rows)


def show_rounds(done: int, wanted: int | None) -> str:
    """Format how many rounds are finished, of how many."""
    return f"{done}/{'?' if wanted is None else wanted}"
