"""A node's wait for its server: pauses between attempts, how long it lasts, and what is logged meanwhile."""

import math
import random
import time
from collections.abc import Callable

from fedmx.errors import UnreachableError
from fedmx.log import warn
from fedmx.values import Address

_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 2.0
_GROWTH = 1.6

# The first line is for a person who watches a client start; later ones become rarer.
_FIRST_REPORT_S = 5.0
_SECOND_REPORT_S = 30.0
_LONGEST_REPORT_PAUSE_S = 300.0


class Backoff:
    """Pauses between attempts, each longer than the one before, up to a limit.

    Args:
        sleep: waits for so many seconds.
    """

    def __init__(self, sleep: Callable[[float], None] = time.sleep) -> None:
        self._sleep = sleep
        # A generator of its own: the module's belongs to the user's task, which may have seeded it.
        self._random = random.Random()  # noqa: S311 - not a secret
        self._pause_s = _FIRST_PAUSE_S

    def pause(self) -> None:
        """Wait before the next attempt."""
        # Jitter, so that nodes that lost the same server do not dial at the same moment.
        self._sleep(self._pause_s * self._random.uniform(0.5, 1.0))
        self._pause_s = min(_GROWTH * self._pause_s, _LONGEST_PAUSE_S)

    def note_connection(self, lasted_s: float) -> None:
        """Begin again with the shortest pause after a connection that lasted.

        One that ended at once changes nothing: a server may welcome a node and drop it, over and over.
        """
        if lasted_s > _LONGEST_PAUSE_S:
            self._pause_s = _FIRST_PAUSE_S


class Wait:
    """The wait for a server that does not answer.

    Args:
        address: the server's.
        timeout_s: how long to wait; infinity is without limit.
        clock: monotonic seconds.

    Attributes:
        cause: what was observed at the latest attempt.
    """

    def __init__(
        self, address: Address, timeout_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._address = address
        self._timeout_s = timeout_s
        self._clock = clock
        self.cause = "no answer"
        self.restart()

    def restart(self) -> None:
        """Wait for the whole time again: the server was there until now."""
        self._since = self._clock()
        self._report_at = self._since + _FIRST_REPORT_S
        self._report_pause_s = _SECOND_REPORT_S

    @property
    def left_s(self) -> float:
        """How long the wait still lasts."""
        return self._since + self._timeout_s - self._clock()

    def report(self) -> None:
        """Log what is awaited, since when and until when, if such a line is due."""
        now = self._clock()
        if now < self._report_at:
            return
        self._report_at = now + self._report_pause_s
        self._report_pause_s = min(2 * self._report_pause_s, _LONGEST_REPORT_PAUSE_S)
        warn(
            "still connecting",
            address=self._address,
            waited_s=round(now - self._since),
            remaining_s=None if math.isinf(self._timeout_s) else round(self.left_s),
            cause=self.cause,
            SERVER_WAIT_TIMEOUT=0 if math.isinf(self._timeout_s) else self._timeout_s,
        )

    def error(self) -> UnreachableError:
        """Return the error of a wait that is over."""
        return UnreachableError(
            f"SERVER_ADDRESS={self._address}: no server answered within {self._timeout_s:g} s"
            f" (SERVER_WAIT_TIMEOUT): {self.cause}"
        )
