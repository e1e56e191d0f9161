"""What `make run` shows: a progress bar on a terminal, lines elsewhere, and at the end a table of rounds."""

import math
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Self

from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from local.log_lines import is_routine, shorten
from local.results import Round

_LOSS = "loss"
_FIGURES_SHOWN = 2
_DIGITS_OF_SECONDS = 3
_WIDEST = 10_000


class Display:
    """Shows the lines of the programs and the progress of the run; a context, which ends the progress bar."""

    def __init__(self, console: Console, total_rounds: int) -> None:
        """Show a progress bar and what is not routine on a terminal, every line elsewhere."""
        self._console = console
        self._bar = _make_bar(console) if console.is_terminal else None
        self._total = total_rounds

    def __enter__(self) -> Self:
        if self._bar:
            self._bar.add_task("starting", total=self._total)
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        # The terminal may have been closed.
        with suppress(OSError):
            if self._bar:
                self._bar.stop()

    def relay(self, name: str, line: str) -> None:
        """Show a line that a program wrote, with the program's name."""
        if self._bar is None or not is_routine(line):
            self.show(f"{name} | {shorten(line)}")

    def show(self, text: str) -> None:
        """Show a line of the launcher itself."""
        if self._bar:
            print_line(self._console, text)
            return
        # The reader may be gone, which does not stop the run. The console would write a line twice
        # that a signal interrupts.
        with suppress(OSError):
            print(text, file=self._console.file, flush=True)

    def update(self, rounds: Sequence[Round]) -> None:
        """Show the progress after the last of these rounds."""
        if self._bar and rounds:
            last = rounds[-1]
            metrics = last.evaluate or last.train
            description = " ".join(
                f"{name} {_show(metrics[name])}" for name in _order(metrics)[:_FIGURES_SHOWN]
            )
            self._bar.update(self._bar.task_ids[0], completed=last.number, description=description)


class PipedConsole(Console):
    """A console whose reader may go away, as in `make run | head`: the run goes on without output."""

    def on_broken_pipe(self) -> None:
        """Stay silent from now on."""
        self.quiet = True


def _make_bar(console: Console) -> Progress:
    columns = (BarColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    return Progress(TextColumn("round"), MofNCompleteColumn(), *columns, console=console)


def make_table(rounds: Sequence[Round]) -> Table:
    """Build a table of rounds, with a column for each metric that any of them has.

    For the training, only the loss is shown, or all metrics if it does not measure a loss.
    """
    trained = _order(name for row in rounds for name in row.train)
    trained = [_LOSS] if _LOSS in trained else trained
    evaluated = _order(name for row in rounds for name in row.evaluate)
    table = Table(box=box.SIMPLE)
    for heading in ("round", "nodes", *(f"train {name}" for name in trained), *evaluated, "seconds"):
        table.add_column(heading, justify="right")
    for row in rounds:
        figures = [*map(row.train.get, trained), *map(row.evaluate.get, evaluated)]
        table.add_row(str(row.number), str(row.nodes), *map(_show, figures), _show_seconds(row.seconds))
    return table


def _order(names: Iterable[str]) -> list[str]:
    """Return each name once, the loss first."""
    return sorted(dict.fromkeys(names), key=lambda name: name != _LOSS)


def print_line(console: Console, text: str) -> None:
    """Print text without markup, colours or line breaks at the width of the console."""
    with suppress(OSError):
        console.print(text, markup=False, highlight=False, soft_wrap=True)


def print_table(console: Console, table: Table) -> None:
    """Print a table at its full width: folded lines are better than truncated figures."""
    console.width = _WIDEST
    with suppress(OSError):
        console.print(table)


def _show(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _show_seconds(value: float | None) -> str:
    """Show three significant digits, because a round takes milliseconds or hours."""
    if not value:
        return "-" if value is None else "0"
    digits = max(0, _DIGITS_OF_SECONDS - 1 - math.floor(math.log10(value)))
    return f"{value:.{digits}f}"
