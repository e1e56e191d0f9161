"""Values by round, stored compactly: a run may have thousands of rounds and hundreds of nodes."""

import math
from array import array
from bisect import bisect_left
from collections.abc import Mapping, Sequence

# With six, 0.98725037 would become 0.98725, and then 0.9872 in one place and 0.9873 in another.
_DIGITS = 9


class Curves:
    """Curves over the same rounds, with gaps where a round has no value.

    Attributes:
        rounds: the numbers of the rounds, in ascending order.
    """

    def __init__(self) -> None:
        self.rounds = array("q")
        self._values: dict[str, array[float]] = {}
        self._texts: dict[str, list[str]] = {}

    @property
    def names(self) -> list[str]:
        """The names of the curves."""
        return list(self._values)

    def add(
        self, number: int, values: Mapping[str, float | None], text: Mapping[str, str] | None = None
    ) -> None:
        """Add a round.

        Args:
            number: the round.
            values: by curve; None and values that are not finite are gaps.
            text: texts of this round, by name.
        """
        before = len(self.rounds)
        self.rounds.append(number)
        for name, value in values.items():
            curve = self._values.get(name)
            if curve is None:
                curve = self._values[name] = array("d", [math.nan]) * before
            curve.append(math.nan if value is None else value)
        for curve in self._values.values():
            if len(curve) <= before:
                curve.append(math.nan)
        for name, each in (text or {}).items():
            self._texts.setdefault(name, []).append(each)

    def values(self, name: str, rounds: Sequence[int] | None = None) -> list[float | None]:
        """Return a curve with nine significant digits, and None for each gap.

        Args:
            name: of the curve.
            rounds: the rounds to return, even ones without a value; None: all rounds that were added.
        """
        curve = self._values[name]
        if rounds is None:
            return [_shorten(value) for value in curve]
        found = []
        for number in rounds:
            index = bisect_left(self.rounds, number)
            is_known = index < len(self.rounds) and self.rounds[index] == number
            found.append(_shorten(curve[index]) if is_known else None)
        return found

    def texts(self, name: str) -> list[str]:
        """Return the texts of a name, one for each round."""
        return list(self._texts.get(name, ()))


def choose_rounds(rounds: Sequence[int], most: int) -> list[int]:
    """Choose at most `most` rounds but at least two, evenly spaced from the first to the last."""
    number = min(len(rounds), max(most, 2))
    if number < 2:  # noqa: PLR2004 - one round has no distance
        return list(rounds)
    step = (len(rounds) - 1) / (number - 1)
    return [rounds[round(index * step)] for index in range(number)]


def _shorten(value: float) -> float | None:
    if not math.isfinite(value):
        return None
    return float(f"{value:.{_DIGITS}g}")
