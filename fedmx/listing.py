"""Lists names in messages, which have to stay short."""

from collections.abc import Iterable
from itertools import islice

from fedmx.log import printable


def list_names(names: Iterable[str], most: int = 20) -> str:
    """Return names separated by commas, and how many more there are. They may have come over the wire."""
    rest = iter(names)
    listed = ", ".join(map(printable, islice(rest, most)))
    more = sum(1 for _ in rest)
    return f"{listed} and {more} more" if more else listed
