"""The order of metrics."""

from collections.abc import Iterable

_FIRST = ("loss", "accuracy")


def order(names: Iterable[str]) -> list[str]:
    """Return each name once: the loss, the accuracy, then the others in their order."""
    found = list(dict.fromkeys(names))
    first = [name for name in _FIRST if name in found]
    return [*first, *(name for name in found if name not in _FIRST)]
