"""Detects jumps of the wall clock: it was set, or the machine was suspended."""

import time
from collections.abc import Callable

from fedmx.link.repeats import Repeats

_JUMP_S = 10.0


class Clocks:
    """Compares how much time has passed by the wall clock and by the monotonic clock.

    Certificates are valid by the wall clock, so a jump explains why nodes are refused or expelled.

    Args:
        wall: seconds of the clock that can be set.
        monotonic: seconds of the clock that cannot.
    """

    def __init__(
        self, wall: Callable[[], float] = time.time, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._wall = wall
        self._monotonic = monotonic
        self._last_wall = wall()
        self._last_monotonic = monotonic()
        self._jumps = Repeats(monotonic)

    def report_now(self) -> None:
        """Log the jumps that have only been counted so far."""
        self._jumps.report_now()

    def check(self) -> None:
        """Log a jump of the wall clock since the previous call, with the time that passed by both clocks."""
        self._jumps.report()
        wall = self._wall()
        monotonic = self._monotonic()
        wall_s = wall - self._last_wall
        monotonic_s = monotonic - self._last_monotonic
        self._last_wall = wall
        self._last_monotonic = monotonic
        if abs(wall_s - monotonic_s) > _JUMP_S:
            self._jumps.warn(
                "jump", "wall clock jumped", wall_s=round(wall_s), monotonic_s=round(monotonic_s)
            )
