"""When a step goes on without its slowest nodes, and why a node's reply is missing."""

import enum
import math
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Quorum:
    """How many replies are enough.

    Attributes:
        count: replies without an error after which the others are awaited for a limited time only.
        grace_s: how long they are awaited from then on (QUORUM_GRACE).
    """

    count: int
    grace_s: float


def count_enough(fraction: float, asked: int) -> int:
    """Return how many replies a fraction of the nodes is, rounded up (QUORUM)."""
    # 0.55 * 100 is a little more than 55.
    return math.ceil(round(fraction * asked, 6))


class Grace:
    """The time that the slowest nodes have, which begins once a quorum has answered.

    Args:
        quorum: how many answers are enough; None: the answers of all.
        clock: monotonic seconds.

    Attributes:
        ends: monotonic seconds at which the others are left out; infinity before the quorum has answered.
    """

    def __init__(self, quorum: Quorum | None, clock: Callable[[], float] = time.monotonic) -> None:
        self.ends = math.inf
        self._quorum = quorum
        self._clock = clock

    def note(self, succeeded: int) -> bool:
        """Note how many have answered without an error; return whether the quorum was reached just now."""
        if self._quorum is None or self.ends < math.inf or succeeded < self._quorum.count:
            return False
        self.ends = self._clock() + self._quorum.grace_s
        return True


class Cause(enum.Enum):
    """Why there is no reply of a node.

    Attributes:
        LOST: its connection was lost and not restored in time.
        LATE: its time was over.
        LEFT_OUT: a quorum had answered, and the grace period was over.
        STALLED: nothing of its request or of its reply moved for too long.
    """

    LOST = "lost"
    LATE = "late"
    LEFT_OUT = "left out"
    STALLED = "stalled"


@dataclass(frozen=True)
class Absence:
    """A reply that did not come.

    Attributes:
        cause: why.
        progress: how far the request or the reply got; empty if that is not known.
        transfer_s: how long they travelled, which does not count towards the node's time.
    """

    cause: Cause
    progress: str = ""
    transfer_s: float = 0.0
