"""What a node is asked: handed from the stream's thread to the thread that works."""

import threading

from fedmx.errors import FederationError
from fedmx.protocol.decode import Received


class Inbox:
    """Requests in order, none of them twice, and how the membership ended."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: dict[str, Received] = {}
        self._working_on: str | None = None
        self._is_over = False
        self._error: FederationError | None = None

    def put(self, request: Received) -> None:
        """Take a request, unless it waits here or is worked on already."""
        with self._changed:
            if request.request_id != self._working_on:
                self._waiting[request.request_id] = request
                self._changed.notify()

    def withdraw(self, request_id: str) -> None:
        """Forget a request that nobody waits for any more; one that is worked on is finished."""
        with self._changed:
            self._waiting.pop(request_id, None)

    def forget(self) -> None:
        """Forget all that still waits: a server that is gone cannot withdraw it."""
        with self._changed:
            self._waiting.clear()

    def end(self, error: FederationError | None) -> None:
        """End the work: what still waits is not begun.

        Args:
            error: why; None when the run is finished.
        """
        with self._changed:
            self._is_over, self._error = True, error
            self._changed.notify()

    def take(self) -> Received | None:
        """Wait for the next request and begin to work on it; give None when the run is finished.

        Raises:
            FederationError: what `end` was given.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._is_over)
            if self._error is not None:
                raise self._error
            if self._is_over:
                return None
            self._working_on = next(iter(self._waiting))
            return self._waiting.pop(self._working_on)

    def finish(self) -> None:
        """Say that the work on the request is done: from now on it may be asked again."""
        with self._changed:
            self._working_on = None
