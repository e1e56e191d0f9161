"""Who polls the status of a run: open pages and terminals."""

import threading
import time
from collections.abc import Callable

# A reader polls more often than this.
_IS_WATCHED_S = 5.0
_MOST_READERS = 100


class Readers:
    """Remembers who has read the status recently, and who has read how the run ended.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._changed = threading.Condition()
        self._read_at: dict[str, float] = {}
        self._informed: set[str] = set()

    def note(self, name: str, *, is_final: bool = False) -> None:
        """Record that a reader has polled, or has read how the run ended.

        Args:
            name: of the reader.
            is_final: whether it has read the end.
        """
        with self._changed:
            # Keep the newest last.
            self._read_at.pop(name, None)
            self._read_at[name] = self._clock()
            if is_final:
                self._informed.add(name)
            while len(self._read_at) > _MOST_READERS:
                oldest = next(iter(self._read_at))
                del self._read_at[oldest]
                self._informed.discard(oldest)
            self._changed.notify_all()

    def wait(self, timeout_s: float) -> bool:
        """Wait until all recent readers have read how the run ended; return whether they have."""
        with self._changed:
            now = self._clock()
            recent = {name for name, at in self._read_at.items() if now - at < _IS_WATCHED_S}
            return self._changed.wait_for(lambda: recent & self._read_at.keys() <= self._informed, timeout_s)
