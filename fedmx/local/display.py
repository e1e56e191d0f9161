"""What `make run` shows: a progress bar on a terminal, lines elsewhere, and in the end the rounds."""

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from fedmx.local.results import Round

_TEXT_LINE = re.compile(r"[0-9:.]{12} ([A-Z]+) +(.*)")


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
    with bar:
        yield _TerminalDisplay(bar, total_rounds)


class _PlainDisplay:
    def __init__(self, console: Console) -> None:
        self._console = console

    def relay(self, name: str, line: str) -> None:
        self.say(f"{name} | {line}")

    def say(self, text: str) -> None:
        print_line(self._console, text)

    def update(self, rounds: Sequence[Round]) -> None:
        """Show nothing: the server's own round lines are relayed."""


class _TerminalDisplay:
    def __init__(self, bar: Progress, total_rounds: int) -> None:
        self._bar = bar
        self._task = bar.add_task("starting", total=total_rounds)

    def relay(self, name: str, line: str) -> None:
        if not is_routine(line):
            self.say(f"{name} | {line}")

    def say(self, text: str) -> None:
        print_line(self._bar.console, text)

    def update(self, rounds: Sequence[Round]) -> None:
        if rounds:
            last = rounds[-1]
            description = f"loss {_show(last.loss)} accuracy {_show(last.accuracy)}"
            self._bar.update(self._task, completed=last.number, description=description)


def is_routine(line: str) -> bool:
    """Whether a program's line tells only that all is well; what is no log line at all never is routine."""
    return split_line(line)[0] in ("INFO", "DEBUG")


def split_line(line: str) -> tuple[str, str]:
    """Give the level and the message of a log line of either format; no level for what is none."""
    if match := _TEXT_LINE.fullmatch(line):
        return match[1], match[2]
    try:
        fields = json.loads(line)
        return str(fields["level"]), str(fields["message"])
    except (ValueError, KeyError, TypeError):
        return "", line


def make_table(rounds: Sequence[Round]) -> Table:
    """Lay out the rounds of a run."""
    table = Table(box=box.SIMPLE)
    for heading in ("round", "nodes", "train loss", "loss", "accuracy", "seconds"):
        table.add_column(heading, justify="right")
    for row in rounds:
        figures = (row.train_loss, row.loss, row.accuracy)
        table.add_row(str(row.number), str(row.nodes), *map(_show, figures), _show(row.seconds, digits=1))
    return table


def print_line(console: Console, text: str) -> None:
    """Print text as it is: no markup, no colours, no folding at the width of the console."""
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def _show(value: float | None, digits: int = 4) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
