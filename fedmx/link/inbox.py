"""Hands requests from the thread that reads the stream to the thread that runs the app."""

import threading

from fedmx.errors import FederationError
from fedmx.protocol.decode import Received


class Inbox:
    """Requests in order, each once, and how the membership ended."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: dict[str, Received] = {}
        # Those of a stream that broke, until the server repeats or withdraws them.
        self._suspended: dict[str, Received] = {}
        self._working_on: str | None = None
        # Whether the reply to it is awaited.
        self._is_awaited = True
        self._is_over = False
        self._error: FederationError | None = None

    def put(self, request: Received) -> None:
        """Queue a request, unless it is queued or worked on already."""
        with self._changed:
            if request.request_id == self._working_on:
                self._is_awaited = True
            else:
                self._waiting[request.request_id] = request
                self._changed.notify()

    def list_requests(self) -> list[str]:
        """Return the ids of the requests that are here: worked on, queued, or suspended."""
        with self._changed:
            working_on = [] if self._working_on is None else [self._working_on]
            return [*working_on, *self._waiting, *self._suspended]

    def repeat(self, request_id: str) -> bool:
        """Note that a request is still awaited; return whether it is here."""
        with self._changed:
            if request_id in self._suspended:
                self._waiting[request_id] = self._suspended.pop(request_id)
                self._changed.notify()
            if request_id == self._working_on:
                self._is_awaited = True
                return True
            return request_id in self._waiting

    def withdraw(self, request_id: str) -> None:
        """Remove a request that is no longer awaited; one that is worked on is finished, but not answered."""
        with self._changed:
            if request_id == self._working_on:
                self._is_awaited = False
            self._waiting.pop(request_id, None)
            self._suspended.pop(request_id, None)

    def suspend(self) -> None:
        """Do not begin requests that are queued: a server that is gone cannot withdraw them.

        Those that were suspended before are removed: the server had a stream to repeat them on.
        """
        with self._changed:
            self._suspended = self._waiting
            self._waiting = {}

    def end(self, error: FederationError | None) -> None:
        """End the work; requests that are queued are not begun.

        Args:
            error: why it ends; None if the run is finished.
        """
        with self._changed:
            self._is_over = True
            self._error = error
            self._changed.notify()

    def take(self) -> Received | None:
        """Wait for the next request and begin to work on it; return None if the run is finished.

        Raises:
            FederationError: the error that `end` was called with.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._is_over)
            if self._error is not None:
                raise self._error
            if self._is_over:
                return None
            self._working_on = next(iter(self._waiting))
            self._is_awaited = True
            return self._waiting.pop(self._working_on)

    def finish(self) -> bool:
        """Note that the work on the request is done: from now on it may be repeated.

        Returns:
            Whether its reply is awaited.
        """
        with self._changed:
            self._working_on = None
            return self._is_awaited
