"""Bounds the log lines about nodes: a federation may have a thousand, which may all fail in one step."""

from fedmx.listing import MOST_NAMES
from fedmx.log import warn


class FewLines:
    """Logs one WARNING for each of the first nodes, and at the end how many more there were.

    Args:
        name: of the event.
        step: `query`, `train` or `evaluate`.
        number: the round; None before round 1.
    """

    def __init__(self, name: str, *, step: str, number: int | None = None) -> None:
        self._name = name
        self._number = number
        self._step = step
        self._count = 0

    def warn(self, **fields: object) -> None:
        """Log a line about one node, unless there have been many already."""
        self._count += 1
        if self._count <= MOST_NAMES:
            warn(self._name, round=self._number, step=self._step, **fields)

    def end(self) -> None:
        """Log how many more nodes there were."""
        if self._count > MOST_NAMES:
            warn(self._name, round=self._number, step=self._step, more_nodes=self._count - MOST_NAMES)
