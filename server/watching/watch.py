"""Follows a run to its end, across restarts of its server."""

import time
from collections.abc import Callable
from typing import Protocol

from rich.console import Console

from fedmx.errors import TrainingFailedError, UnreachableError
from server.watching.lines import Lines
from server.watching.live import LiveScreen, is_live
from server.watching.snapshot import FAILED, FINISHED, INTERRUPTED, Snapshot
from server.watching.source import NoStatusError, StatusPage

_INTERVAL_S = 1.0
_PATIENCE_S = 60.0
"""How long a server may be gone, for example while it restarts."""


class View(Protocol):
    """Shows a run."""

    def show(self, snapshot: Snapshot) -> None:
        """Show the run."""

    def report(self, note: str) -> None:
        """Show that the server does not answer; with an empty note, that it answers again."""


def watch(url: str) -> None:
    """Show the run of a server until it has ended.

    Raises:
        SettingsError: the URL is not valid.
        TrainingFailedError: the run failed.
        UnreachableError: the server does not answer, or no longer does.
    """
    page = StatusPage(url)
    first = _read_first(page)
    console = Console()
    if is_live(console):
        with LiveScreen(console, is_kept=True) as screen:
            last = Watcher(page.read, screen).follow(first)
    else:
        last = Watcher(page.read, Lines()).follow(first)
    if last.state == FAILED:
        raise TrainingFailedError(f"run {last.run_id} failed: {last.reason}")


def _read_first(page: StatusPage) -> Snapshot:
    try:
        return page.read()
    except NoStatusError as error:
        raise UnreachableError(
            f"{page.url}: no status page of a server: {error}; start one with STATUS_ADDRESS, or pass its"
            " URL: python -m server watch URL"
        ) from None


class Watcher:
    """Follows one run.

    Args:
        read: returns the run at this moment.
        view: shows it.
        clock: monotonic seconds.
        sleep: waits for seconds.
    """

    def __init__(
        self,
        read: Callable[[], Snapshot],
        view: View,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._read = read
        self._view = view
        self._clock = clock
        self._sleep = sleep
        self._gone_since: float | None = None

    def follow(self, snapshot: Snapshot) -> Snapshot:
        """Show the run until it has ended, and return how it ended.

        Args:
            snapshot: the run as it was read before.

        Raises:
            UnreachableError: the server was gone for too long.
        """
        self._view.show(snapshot)
        while snapshot.state not in (FINISHED, FAILED):
            self._sleep(_INTERVAL_S)
            before = snapshot
            try:
                snapshot = self._read()
                # It may be started again, and resume the run.
                problem = "the server was stopped" if snapshot.state == INTERRUPTED else ""
            except NoStatusError as error:
                problem = f"the server does not answer: {error}"
            if snapshot is not before:
                self._view.show(snapshot)
            self._note(problem, snapshot)
        return snapshot

    def _note(self, problem: str, snapshot: Snapshot) -> None:
        """Report a problem once, and give up if it lasts."""
        if not problem:
            if self._gone_since is not None:
                self._view.report("")
            self._gone_since = None
        elif self._gone_since is None:
            self._gone_since = self._clock()
            self._view.report(f"{problem}; waiting {_PATIENCE_S:g} s for it to be started again")
        elif self._clock() - self._gone_since > _PATIENCE_S:
            raise UnreachableError(
                f"{problem}; the run was {snapshot.state}, its newest round {snapshot.round}; if it is"
                " started again with the same settings, the server resumes the run"
            )
