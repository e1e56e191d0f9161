"""The screen on a terminal, drawn again and again while the run goes on."""

from contextlib import suppress
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from server.watching.screen import Frame, compose
from server.watching.snapshot import Snapshot

_DRAWN_PER_SECOND = 2


def is_live(console: Console) -> bool:
    """Whether a console can be drawn on again and again."""
    return console.is_terminal and not console.is_dumb_terminal


class LiveScreen:
    """The screen, as a context. Its attributes are what is shown, and may be set by any thread.

    Args:
        console: the terminal.
        is_kept: whether the screen stays when the context ends.

    Attributes:
        snapshot: the run; None: there is nothing to show yet.
        url: the page that shows the same; empty: none.
        note: what else to report; empty: nothing.
    """

    def __init__(self, console: Console, *, is_kept: bool) -> None:
        self.snapshot: Snapshot | None = None
        self.url = ""
        self.note = ""
        self._console = console
        self._live = Live(
            console=console,
            get_renderable=self._render,
            refresh_per_second=_DRAWN_PER_SECOND,
            transient=not is_kept,
            redirect_stdout=False,
            redirect_stderr=False,
            vertical_overflow="crop",
        )

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        # The terminal may have been closed.
        with suppress(OSError):
            self._live.stop()

    def show(self, snapshot: Snapshot) -> None:
        """Show a run from now on."""
        self.snapshot = snapshot

    def report(self, note: str) -> None:
        """Show a note; an empty one ends the one before."""
        self.note = note

    def _render(self) -> Group:
        snapshot = self.snapshot
        if snapshot is None:
            return Group(Text(self.note or "starting"))
        # The cursor stays in the last line, which a full screen would scroll.
        frame = Frame(
            width=self._console.width,
            height=max(1, self._console.height - 1),
            is_ascii=self._console.options.ascii_only,
            url=self.url,
            note=self.note,
        )
        return Group(*compose(snapshot, frame))
