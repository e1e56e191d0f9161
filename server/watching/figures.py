"""Numbers, times and curves as text."""

import itertools
import math
from collections.abc import Iterable, Sequence

_DIGITS_OF_SECONDS = 3
_LARGE = 100_000
BARS = "▁▂▃▄▅▆▇█"
"""From the lowest to the highest."""

# For terminals without UTF-8.
_ASCII_BARS = "_.-=*#"


def show_figure(value: float | None) -> str:
    """Show four decimals; `-` for a figure that is missing."""
    if value is None:
        return "-"
    return f"{value:.4f}" if abs(value) < _LARGE else f"{value:.4g}"


def show_seconds(value: float | None) -> str:
    """Show three significant digits: a round may take milliseconds or hours."""
    if not value:
        return "-" if value is None else "0"
    digits = max(0, _DIGITS_OF_SECONDS - 1 - math.floor(math.log10(abs(value))))
    return f"{value:.{digits}f}"


def show_nodes(count: int) -> str:
    """Show how many nodes there are."""
    return f"{count} node{'' if count == 1 else 's'}"


def show_duration(seconds: float) -> str:
    """Show hours, minutes and seconds."""
    minutes, rest = divmod(max(0, int(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"


def draw_curve(
    values: Sequence[float | None],
    width: int,
    between: tuple[float, float] | None = None,
    *,
    is_ascii: bool = False,
) -> str:
    """Draw a curve as one line of bars.

    Args:
        values: the curve; a point that is missing is a gap.
        width: the most characters; in a longer curve, neighbouring points are averaged.
        between: the values of the lowest and the highest bar; by default, those of the curve.
        is_ascii: whether the bars have to be ASCII.
    """
    bars = _ASCII_BARS if is_ascii else BARS
    points = _average(values, max(1, width))
    if between is None:
        known = [point for point in points if point is not None]
        if not known:
            return ""
        between = min(known), max(known)
    low, high = between
    # The difference of two halves does not overflow.
    span = high / 2 - low / 2
    top = len(bars) - 1

    def draw(point: float | None) -> str:
        if point is None:
            return " "
        share = (point / 2 - low / 2) / span if span else 0.5
        return bars[round(share * top)]

    return "".join(map(draw, points))


def _average(values: Sequence[float | None], number: int) -> list[float | None]:
    """Return at most `number` points, each the mean of neighbours."""
    total = len(values)
    if total <= number:
        return list(values)
    bounds = [at * total // number for at in range(number + 1)]
    return [_mean(values[begin:end]) for begin, end in itertools.pairwise(bounds)]


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    # Divided before they are added, so that the sum cannot overflow.
    return sum(value / len(known) for value in known) if known else None
