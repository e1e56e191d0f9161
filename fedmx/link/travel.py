"""Where a request is, and for how long bytes have travelled: that time does not count towards its timeout."""

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

    @property
    def is_on(self) -> bool:
        """Whether bytes of the request or of its reply are on their way."""
        return self.where is not Where.AT_REST

    @property
    def seconds(self) -> float:
        """How long bytes have travelled so far."""
        earlier, began = self._spans
        return earlier if began is None else earlier + self._clock() - began

    def go(self, where: Where) -> None:
        """Note where the request is from now on."""
        self._spans = (self.seconds, None if where is Where.AT_REST else self._clock())
        self.where = where
