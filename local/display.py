"""What `make run` shows: a progress bar on a terminal, lines elsewhere, and in the end the rounds."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Protocol

from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from local.relay import is_routine, shorten
from local.results import Round

_FIGURES_SHOWN = 2
_WIDEST = 10_000


class Display(Protocol):
    """Where the lines of the programs and the progress of the run go."""

    def relay(self, name: str, line: str) -> None:
        """Show a line that a program wrote."""

    def say(self, text: str) -> None:
        """Show a line of the launcher's own."""

    def update(self, rounds: Sequence[Round]) -> None:
        """Show how far the run is."""


@contextmanager
def open_display(console: Console, total_rounds: int) -> Iterator[Display]:
    """Choose a display by whether `console` is a terminal, and close it in the end."""
    if not console.is_terminal:
        yield _PlainDisplay(console)
        return
    bar = Progress(
        TextColumn("round"),
        MofNCompleteColumn(),
        BarColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
        console=console,
    )
    bar.start()
    try:
        yield _TerminalDisplay(bar, total_rounds)
    finally:
        with suppress(OSError):  # the terminal may have been closed
            bar.stop()


class _PlainDisplay:
    def __init__(self, console: Console) -> None:
        self._console = console

    def relay(self, name: str, line: str) -> None:
        self.say(f"{name} | {shorten(line)}")

    def say(self, text: str) -> None:
        with suppress(OSError):  # whoever read it may be gone, and the run goes on
            # Not by the console: a line that a signal interrupts there is written twice.
            print(text, file=self._console.file, flush=True)

    def update(self, rounds: Sequence[Round]) -> None:
        """Show nothing: the server's own round lines are relayed."""


class _TerminalDisplay:
    def __init__(self, bar: Progress, total_rounds: int) -> None:
        self._bar = bar
        self._task = bar.add_task("starting", total=total_rounds)

    def relay(self, name: str, line: str) -> None:
        if not is_routine(line):
            self.say(f"{name} | {shorten(line)}")

    def say(self, text: str) -> None:
        print_line(self._bar.console, text)

    def update(self, rounds: Sequence[Round]) -> None:
        if rounds:
            last = rounds[-1]
            figures = [("loss", last.loss), *last.metrics.items()][:_FIGURES_SHOWN]
            description = " ".join(f"{name} {_show(value)}" for name, value in figures)
            self._bar.update(self._task, completed=last.number, description=description)


def make_table(rounds: Sequence[Round]) -> Table:
    """Lay out the rounds of a run, with a column for each metric that any of them has."""
    metrics = list(dict.fromkeys(name for row in rounds for name in row.metrics))
    table = Table(box=box.SIMPLE)
    for heading in ("round", "nodes", "train loss", "loss", *metrics, "seconds"):
        table.add_column(heading, justify="right")
    for row in rounds:
        figures = (row.train_loss, row.loss, *(row.metrics.get(name) for name in metrics))
        table.add_row(str(row.number), str(row.nodes), *map(_show, figures), _show(row.seconds, digits=1))
    return table


def print_line(console: Console, text: str) -> None:
    """Print text as it is: no markup, no colours, no folding at the width of the console."""
    with suppress(OSError):
        console.print(text, markup=False, highlight=False, soft_wrap=True)


def print_table(console: Console, table: Table) -> None:
    """Print a table as wide as it is: figures that are cut off would be worse than folded lines."""
    console.width = _WIDEST
    with suppress(OSError):
        console.print(table)


def _show(value: float | None, digits: int = 4) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
