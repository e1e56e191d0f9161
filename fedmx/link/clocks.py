"""The wall clock beside the monotonic one: somebody set it, or the machine slept, where they part."""

import time
from collections.abc import Callable

from fedmx.link.repeats import Repeats

_JUMP_S = 10.0


class Clocks:
    """Compares how far both clocks went since the last look.

    Args:
        wall: seconds of the clock that people set.
        monotonic: seconds of the clock that nobody sets.
    """

    def __init__(
        self, wall: Callable[[], float] = time.time, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._wall = wall
        self._monotonic = monotonic
        self._last = wall(), monotonic()
        self._jumps = Repeats(monotonic)

    def report_now(self) -> None:
        """Log the jumps that were only counted so far."""
        self._jumps.report_now()

    def look(self) -> None:
        """Log a jump of the wall clock with what both clocks say has passed."""
        self._jumps.report()
        before, self._last = self._last, (self._wall(), self._monotonic())
        wall_s, monotonic_s = (now - then for now, then in zip(self._last, before, strict=True))
        if abs(wall_s - monotonic_s) > _JUMP_S:
            # Dates of certificates go by the wall clock.
            self._jumps.warn(
                "jump", "wall clock jumped", wall_s=round(wall_s), monotonic_s=round(monotonic_s)
            )
