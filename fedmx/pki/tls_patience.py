"""When a TLS problem is lasting: not observed just once, as while a server starts or ends."""

import time
from collections.abc import Callable

_LASTING_COUNT = 3
_LASTING_S = 2.0


class TlsPatience:
    """Follows what each attempt to connect found wrong with TLS.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._problem: str | None = None
        self._since = 0.0
        self._count = 0

    def note(self, problem: str | None) -> bool:
        """Note what an attempt found; return whether the same problem has lasted for a while.

        Args:
            problem: None if there was none, or if there was no answer.
        """
        now = self._clock()
        if problem != self._problem:
            self._problem = problem
            self._since = now
            self._count = 0
        self._count += 1
        is_lasting = self._count >= _LASTING_COUNT and now - self._since >= _LASTING_S
        return problem is not None and is_lasting
