"""Repeated warnings: the first of each cause is logged at once, the others are counted."""

import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass

from fedmx.log import warn

_PERIOD_S = 300.0
# Without a limit, whoever reaches an open port could fill the memory with names.
_MOST_CAUSES = 256


@dataclass
class _Cause:
    """The latest warning of a cause, and how often it was only counted."""

    message: str
    fields: dict[str, object]
    count: int = 0


class Repeats:
    """Logs the first warning of each cause, and every five minutes how often it was repeated.

    A cause that was not repeated for a whole period is forgotten, so that its next warning is logged at once.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._causes: dict[Hashable, _Cause] = {}
        self._uncounted = 0
        self._since = clock()

    def warn(self, key: Hashable, message: str, **fields: object) -> None:
        """Log a warning, or count it if its cause is known.

        Args:
            key: identifies the cause.
            message: the event's name.
            fields: the event's fields.
        """
        self.report()
        known = self._causes.get(key)
        if known is not None:
            known.count += 1
            known.fields = fields
        elif len(self._causes) < _MOST_CAUSES:
            self._causes[key] = _Cause(message, fields)
            warn(message, **fields)
        else:
            self._uncounted += 1

    def report(self) -> None:
        """Log how often each cause was repeated, if a period is over."""
        if self._clock() - self._since >= _PERIOD_S:
            self.report_now()

    def report_now(self) -> None:
        """Log how often each cause was repeated, and begin another period."""
        in_s = round(self._clock() - self._since)
        repeated = {key: cause for key, cause in self._causes.items() if cause.count}
        for cause in repeated.values():
            warn(cause.message, **cause.fields, times=cause.count, in_s=in_s)
            cause.count = 0
        if self._uncounted:
            warn("warnings of too many other causes", times=self._uncounted, in_s=in_s)
        self._causes = repeated
        self._uncounted = 0
        self._since = self._clock()
