"""A long line between two machines, as arithmetic: when a piece leaves one end and arrives at the other."""

from dataclasses import dataclass

# What a line that was idle for a moment may send at once, in seconds of its rate. It makes up for threads
# that wake up late, and is short against the delay.
_BURST_S = 0.005


@dataclass(frozen=True)
class Line:
    """One direction of a line.

    Attributes:
        delay_s: from one end to the other.
        bytes_per_s: its rate.
    """

    delay_s: float
    bytes_per_s: float

    @property
    def bytes_in_flight(self) -> int:
        """What the line holds when it is full."""
        return round(self.delay_s * self.bytes_per_s)


class Pace:
    """A token bucket: the times at which pieces may leave.

    Args:
        line: the line that they leave on.
    """

    def __init__(self, line: Line) -> None:
        self._line = line
        self._is_free_at = float("-inf")

    def leave(self, count: int, now: float) -> float:
        """Return when a piece of `count` bytes, ready at `now`, has left in whole."""
        begins = max(self._is_free_at, now - _BURST_S)
        self._is_free_at = begins + count / self._line.bytes_per_s
        return max(self._is_free_at, now)
