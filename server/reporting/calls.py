"""Calls a reporter without letting it fail a run or, in the background, delay a round."""

import threading
import time
from collections.abc import Mapping
from queue import SimpleQueue

from fedmx.log import warn
from server.reporting.reporter import Reporter, ReporterError

# A call that takes longer is considered hung.
_HANGS_AFTER_S = 30.0


class DirectCalls:
    """Calls a reporter on the caller's thread.

    Args:
        reporter: the reporter.
    """

    def __init__(self, reporter: Reporter) -> None:
        self.reporter = reporter
        self._has_failed = False

    def call(self, method: str, *arguments: object, **named: object) -> None:
        """Call a method. If it raises an exception, log a WARNING: the first, and that of the run's end."""
        try:
            getattr(self.reporter, method)(*arguments, **named)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - what watches a run must not end it
            # A later call may succeed, and one line is enough, but what fails at the end is lost.
            if not self._has_failed or method == "on_end":
                self._has_failed = True
                name = type(self.reporter).__name__
                at = "the end of the run" if method == "on_end" else None
                warn("reporter failed", reporter=name, at=at, reason=_describe(error))

    def finish(self, deadline: float) -> None:
        """Return at once: every call has ended."""


class BackgroundCalls:
    """Calls a reporter on a thread of its own, one call after the other.

    A reporter that hangs is named in a WARNING and no longer called.

    Args:
        reporter: the reporter.
    """

    def __init__(self, reporter: Reporter) -> None:
        self.reporter = reporter
        self._direct = DirectCalls(reporter)
        self._waiting: SimpleQueue[tuple[str, tuple[object, ...], Mapping[str, object]]] = SimpleQueue()
        self._thread = threading.Thread(target=self._work, name=type(reporter).__name__, daemon=True)
        # Joining the thread would not do: a signal that interrupts it marks a thread as ended in Python 3.12.
        self._has_finished = threading.Event()
        # When the current call began, in monotonic seconds.
        self._began: float | None = None
        self._is_given_up = False

    def call(self, method: str, *arguments: object, **named: object) -> None:
        """Queue a call of a method behind all earlier calls."""
        began = self._began
        if began is not None and time.monotonic() - began > _HANGS_AFTER_S:
            self._give_up("a call takes too long")
        if self._is_given_up:
            return
        if self._thread.ident is None:
            self._thread.start()
        self._waiting.put((method, arguments, named))

    def finish(self, deadline: float) -> None:
        """Wait for the last call, which is `close`.

        Args:
            deadline: monotonic seconds at which the wait ends.
        """
        if self._is_given_up or self._thread.ident is None:
            return
        if not self._has_finished.wait(max(0.0, deadline - time.monotonic())):
            self._give_up("it has not finished")

    def _work(self) -> None:
        try:
            self._make_calls()
        finally:
            self._has_finished.set()

    def _make_calls(self) -> None:
        method = ""
        while method != "close":
            method, arguments, named = self._waiting.get()
            self._began = time.monotonic()
            self._direct.call(method, *arguments, **named)
            self._began = None

    def _give_up(self, reason: str) -> None:
        if not self._is_given_up:
            self._is_given_up = True
            warn("reporter hangs", reporter=type(self.reporter).__name__, reason=reason)


def _describe(error: BaseException) -> str:
    """Return an error's message; of an error of the reporter's code, its type as well."""
    return str(error) if isinstance(error, ReporterError) else repr(error)
