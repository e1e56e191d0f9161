"""What `make run` shows: a progress bar on a terminal, lines elsewhere, and at the end tables."""

from collections.abc import Sequence
from contextlib import suppress
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from local.log_lines import is_routine, shorten
from local.results import Round
from local.tables import order, show_figure

_FIGURES_SHOWN = 2
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
                f"{name} {show_figure(metrics[name])}" for name in order(metrics)[:_FIGURES_SHOWN]
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


def print_line(console: Console, text: str) -> None:
    """Print text without markup, colours or line breaks at the width of the console."""
    with suppress(OSError):
        console.print(text, markup=False, highlight=False, soft_wrap=True)


def print_table(console: Console, table: Table) -> None:
    """Print a table at its full width: folded lines are better than truncated figures."""
    console.width = _WIDEST
    with suppress(OSError):
        console.print(table)
