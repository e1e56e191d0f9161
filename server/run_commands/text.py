"""Text for a terminal of 80 columns, without colour: numbers, tables and curves."""

import math
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from fedmx.log import printable
from server.watching.figures import BARS, draw_curve

WIDTH = 80
"""Columns of the narrowest terminal that tables and curves are made for."""

Curve = Sequence[float | None]

_MINUTE_S = 60
_HOUR_S = 3_600
_DAY_S = 86_400
_KILOBYTE = 1_000
_UNITS = ("kB", "MB", "GB", "TB")


def show_number(value: object) -> str:
    """Format a number with four significant digits; `-` if there is none."""
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1e4 else f"{value:.0f}"  # noqa: PLR2004 - the digits before a point
    return printable(str(value))


def show_bytes(size: float | None) -> str:
    """Format bytes with a decimal unit: 1 kB is 1000 bytes."""
    if size is None:
        return "-"
    if size < _KILOBYTE:
        return f"{size:.0f} B"
    power = min(int(math.log10(size)) // 3, len(_UNITS))
    return f"{size / _KILOBYTE**power:.1f} {_UNITS[power - 1]}"


def show_duration(seconds: float | None) -> str:
    """Format a duration in its two largest units."""
    if seconds is None:
        return "-"
    if seconds < _MINUTE_S:
        return f"{seconds:.0f}s"
    if seconds < _HOUR_S:
        return f"{seconds // _MINUTE_S:.0f}m{seconds % _MINUTE_S:02.0f}s"
    if seconds < _DAY_S:
        return f"{seconds // _HOUR_S:.0f}h{seconds % _HOUR_S // _MINUTE_S:02.0f}m"
    return f"{seconds // _DAY_S:.0f}d{seconds % _DAY_S // _HOUR_S:02.0f}h"


def show_time(text: str | None) -> str:
    """Format a time to the minute, in UTC; return any other text unchanged."""
    try:
        return f"{datetime.fromisoformat(text or '').astimezone(UTC):%Y-%m-%dT%H:%MZ}"
    except ValueError:
        return printable(text or "-")


def show_best(best: Mapping[str, Any] | None) -> str:
    """Format the best round of a run."""
    if best is None:
        return "-"
    return f"{printable(best['metric'])} {show_number(best['value'])} in round {best['round']}"


def make_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Yield the lines of a table, without the columns that are empty in all rows."""
    listed = list(rows)
    columns = [
        (title, values)
        for title, values in zip(header, zip(*listed, strict=True), strict=True)
        if any(values)
    ]
    widths = [max(len(title), *map(len, values)) for title, values in columns]
    for row in ([title for title, _ in columns], *zip(*(values for _, values in columns), strict=True)):
        yield "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()


def shorten(text: str, width: int) -> str:
    """Return a text on one line, cut to a width."""
    shown = printable(" ".join(text.split()), limit=10_000)
    return shown if len(shown) <= width else f"{shown[: width - 3]}..."


def draw(curve: Curve, width: int, low: float, high: float) -> str:
    """Draw a curve in one line, with spaces for rounds without a value.

    Args:
        curve: one value per round.
        width: the most characters; in a longer curve, each is the mean of several rounds.
        low: the value at the bottom.
        high: the value at the top.
    """
    return draw_curve(curve, width, (low, high), is_ascii=not _can_show_bars())


def find_range(curves: Iterable[Curve]) -> tuple[float, float]:
    """Return the smallest and the largest value of some curves."""
    known = [value for curve in curves for value in curve if value is not None]
    return (min(known), max(known)) if known else (0.0, 0.0)


def find_last(curve: Curve) -> float | None:
    """Return the last known value of a curve; None if there is none."""
    return next((value for value in reversed(curve) if value is not None), None)


def _can_show_bars() -> bool:
    """Return whether the encoding of the output has the bars of curves."""
    try:
        BARS.encode(getattr(sys.stdout, "encoding", None) or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True
