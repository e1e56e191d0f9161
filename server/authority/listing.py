"""The table of `pki list`: the state of every certificate that was issued."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from fedmx.pki.certificates import SERVER
from fedmx.pki.register import Issued

_HEADER = ("ROLE", "NAME", "STATE", "ISSUED", "EXPIRES", "SERIAL")


def make_table(issued: Sequence[Issued], now: datetime) -> Iterator[str]:
    """Yield the table's lines: the server first, then sites by name, the newest certificate of each first.

    Args:
        issued: all certificates, oldest first.
        now: the time in UTC.
    """
    newest = {(one.role, one.name): one.serial for one in issued}
    newest_first = issued[::-1]
    ordered = sorted(newest_first, key=lambda one: (one.role != SERVER, one.name))
    rows = [
        (
            one.role,
            one.name,
            _find_state(one, now, is_newest=newest[one.role, one.name] == one.serial),
            _format(one.since),
            _format(one.until),
            one.serial,
        )
        for one in ordered
    ]
    widths = [max(map(len, column)) for column in zip(_HEADER, *rows, strict=True)]
    for row in (_HEADER, *rows):
        yield "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()


def _find_state(one: Issued, now: datetime, *, is_newest: bool) -> str:
    if one.is_revoked:
        return "revoked"
    if now > datetime.fromisoformat(one.until):
        return "expired"
    return "current" if is_newest else "replaced"


def _format(time: str) -> str:
    """Format a time to the minute, in UTC."""
    return f"{datetime.fromisoformat(time).astimezone(UTC):%Y-%m-%dT%H:%MZ}" if time else "unknown"
