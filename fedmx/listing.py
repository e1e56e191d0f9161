"""Lists names in messages, which have to stay short."""

from collections.abc import Iterable, Sequence
from itertools import islice

from fedmx.log import printable

MOST_NAMES = 20
"""The names of nodes that a log line has at most: a federation may have a thousand."""


def shorten(names: Sequence[str], most: int = MOST_NAMES) -> list[str]:
    """Return the first names, and in place of the others how many there are."""
    return [*names[:most], f"and {len(names) - most} more"] if len(names) > most else list(names)


def list_names(names: Iterable[str], most: int = MOST_NAMES) -> str:
    """Return names separated by commas, and how many more there are. They may have come over the wire."""
    rest = iter(names)
    listed = ", ".join(map(printable, islice(rest, most)))
    more = sum(1 for _ in rest)
    return f"{listed} and {more} more" if more else listed
