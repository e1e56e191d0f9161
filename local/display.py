"""What `make run` shows: a screen of the run on a terminal, lines elsewhere, and at the end tables."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Self

from rich.console import Console
from rich.table import Table

from local.feed import Feed
from local.log_lines import is_routine, shorten
from server.watching.live import LiveScreen, is_live

_WIDEST = 10_000


class Display:
    """Shows the lines of the programs and the run; a context, which ends the screen."""

    def __init__(self, console: Console) -> None:
        """Show a screen and what is not routine on a terminal, every line elsewhere."""
        self._console = console
        # The screen is removed at the end: the final tables show the same and more.
        self._screen = LiveScreen(console, is_kept=False) if is_live(console) else None
        self._feed: Feed | None = None

    def __enter__(self) -> Self:
        if self._screen:
            self._screen.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        if self._feed:
            self._feed.stop()
        if self._screen:
            self._screen.__exit__()

    def follow(self, url: str, folder: Path, rename: Callable[[str], str]) -> None:
        """Show a run from now on.

        Args:
            url: the page that shows it; empty if there is none.
            folder: of the run.
            rename: replaces names of settings that the user did not set by those that the user can.
        """
        if self._screen:
            self._screen.url = url
            self._feed = Feed(url, folder, self._screen.show, rename)

    def announce(self, url: str) -> None:
        """Print the URL of the page of the run, unless the screen shows it."""
        if self._screen is None:
            self.show(f"status page: {url}")

    def relay(self, name: str, line: str) -> None:
        """Show a line that a program wrote, with the program's name."""
        if self._screen is None or not is_routine(line):
            self.show(f"{name} | {shorten(line)}")

    def show(self, text: str) -> None:
        """Show a line of the launcher itself."""
        if self._screen:
            print_line(self._console, text)
            return
        # The reader may be gone, which does not stop the run. The console would write a line twice
        # that a signal interrupts.
        with suppress(OSError):
            print(text, file=self._console.file, flush=True)


class PipedConsole(Console):
    """A console whose reader may go away, as in `make run | head`: the run goes on without output."""

    def on_broken_pipe(self) -> None:
        """Stay silent from now on."""
        self.quiet = True


def print_line(console: Console, text: str) -> None:
    """Print text without markup, colours or line breaks at the width of the console."""
    with suppress(OSError):
        console.print(text, markup=False, highlight=False, soft_wrap=True)


def print_table(console: Console, table: Table) -> None:
    """Print a table at its full width: folded lines are better than truncated figures."""
    console.width = _WIDEST
    with suppress(OSError):
        console.print(table)
