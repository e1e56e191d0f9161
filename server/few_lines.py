"""Bounds the log lines about nodes: a federation may have a thousand, which may all fail in one step."""

from fedmx.listing import MOST_NAMES
from fedmx.log import warn


class FewLines:
    """Logs one WARNING for each of the first nodes, and at the end how many more there were.

    Args:
        name: of the event.
        number: the round.
        step: `train` or `evaluate`.
    """

    def __init__(self, name: str, *, number: int, step: str) -> None:
        self._name = name
        self._number = number
        self._step = step
        self._count = 0

    def warn(self, **fields: object) -> None:
        """Log a line about one node, unless there were many already."""
        self._count += 1
        if self._count <= MOST_NAMES:
            warn(self._name, round=self._number, step=self._step, **fields)

    def end(self) -> None:
        """Log how many nodes no line is about; the history names them all."""
        if self._count > MOST_NAMES:
            warn(self._name, round=self._number, step=self._step, more_nodes=self._count - MOST_NAMES)
