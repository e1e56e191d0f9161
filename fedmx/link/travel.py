"""Where a request is, and for how long bytes have travelled: that time does not count towards its timeout.

The time of a transfer that broke does count if it brought nothing: if as many bytes are sent again.
"""

import enum
import time
from collections.abc import Callable


class Where(enum.Enum):
    """Where a request, or its reply, is."""

    AT_REST = "at rest"
    DOWN = "on its way to the node"
    UP = "on its way back"


class Travel:
    """The travels of one request and its reply. One thread notes them; any thread may ask.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.where = Where.AT_REST
        self._clock = clock
        # Seconds of earlier travels, and when the present one began: one object, so that both fit together.
        self._spans: tuple[float, float | None] = (0.0, None)
        # The bytes of the present transfer, and of each way's last one that broke, with its seconds.
        self._size = 0
        self._broken: dict[Where, tuple[int, float]] = {}

    @property
    def is_on(self) -> bool:
        """Whether bytes of the request or of its reply are on their way."""
        return self.where is not Where.AT_REST

    @property
    def seconds(self) -> float:
        """How long bytes have travelled so far."""
        earlier, began = self._spans
        return earlier if began is None else earlier + self._clock() - began

    def go(self, where: Where, size: int | None = None) -> None:
        """Note where the request is from now on.

        Args:
            where: at rest, or on its way.
            size: the bytes of a transfer that begins; None while it waits for its turn.
        """
        seconds = self.seconds
        if size is not None:
            before, lost_s = self._broken.pop(where, (0, 0.0))
            seconds -= lost_s if size >= before else 0.0
            self._size = size
        self._spans = (seconds, None if where is Where.AT_REST else self._clock())
        self.where = where

    def break_off(self) -> None:
        """Note that the stream is gone."""
        began = self._spans[1]
        if began is not None:
            self._broken[self.where] = (self._size, self._clock() - began)
        self.go(Where.AT_REST)
