"""The screen on a terminal, which is redrawn while the run continues."""

from contextlib import suppress
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from server.watching.screen import Frame, compose
from server.watching.snapshot import Snapshot

_DRAWN_PER_SECOND = 2


def is_live(console: Console) -> bool:
    """Return whether a console can be redrawn."""
    return console.is_terminal and not console.is_dumb_terminal


class LiveScreen:
    """The screen, as a context. It shows its attributes, which any thread may set.

    Args:
        console: the terminal.
        is_kept: whether the screen stays when the context ends.

    Attributes:
        snapshot: the run; None before the first one.
        url: the page that shows the same; empty if there is none.
        note: an additional line; empty for none.
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
        # The cursor needs the last line: a full screen would scroll.
        frame = Frame(
            width=self._console.width,
            height=max(1, self._console.height - 1),
            is_ascii=self._console.options.ascii_only,
            url=self.url,
            note=self.note,
        )
        return Group(*compose(snapshot, frame))
