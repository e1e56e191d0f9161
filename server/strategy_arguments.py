"""Arguments of strategies and of differential privacy, and the valid values of each."""

import sys
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

# Beyond these, results leave what float32 can hold.
_SMALLEST, _LARGEST = 1e-30, 1e30
# Beyond these, squares in the privacy accounting leave what a float can hold.
_SMALLEST_NOISE, _LARGEST_NOISE = 1e-6, 1e6
# An exponent of losses: with a larger one, their powers underflow.
_LARGEST_EXPONENT = 100
# Trimming this share at both ends would leave nothing.
_HALF = 0.5


@dataclass(frozen=True)
class _Range:
    """The valid values of an argument.

    Attributes:
        description: of the values, for errors.
        contains: whether a finite number is valid.
        is_integer: whether only integers are.
    """

    description: str
    contains: Callable[[float], bool]
    is_integer: bool = False

    def accepts(self, value: object) -> bool:
        """Return whether a value from JSON is valid."""
        if isinstance(value, bool) or not isinstance(value, int if self.is_integer else int | float):
            return False
        # This excludes NaN, infinity and integers that no float can hold.
        return abs(value) <= sys.float_info.max and self.contains(value)


_SHARE = _Range("a number from 0 to 1", lambda value: 0 <= value <= 1)
_BELOW_ONE = _Range("a number of at least 0 and below 1", lambda value: 0 <= value < 1)
_POSITIVE = _Range("a number from 1e-30 to 1e30", lambda value: _SMALLEST <= value <= _LARGEST)

_RANGES: Mapping[str, _Range] = {
    "fraction_train": _Range("a number above 0 and at most 1", lambda value: 0 < value <= 1),
    "fraction_evaluate": _SHARE,
    "server_learning_rate": _POSITIVE,
    "server_momentum": _BELOW_ONE,
    "eta": _POSITIVE,
    "beta_1": _BELOW_ONE,
    "beta_2": _BELOW_ONE,
    "tau": _POSITIVE,
    "beta": _Range("a number of at least 0 and below 0.5", lambda value: 0 <= value < _HALF),
    "num_malicious_nodes": _Range("an integer of at least 0", lambda value: value >= 0, is_integer=True),
    "num_nodes_to_select": _Range("an integer of at least 1", lambda value: value >= 1, is_integer=True),
    "q": _Range("a number from 0 to 100", lambda value: 0 <= value <= _LARGEST_EXPONENT),
    "noise_multiplier": _Range(
        "a number from 1e-6 to 1e6", lambda value: _SMALLEST_NOISE <= value <= _LARGEST_NOISE
    ),
    "clipping_norm": _POSITIVE,
    "initial_clipping_norm": _POSITIVE,
    "target_clipped_quantile": _SHARE,
    "clip_norm_lr": _POSITIVE,
    "clipped_count_stddev": _POSITIVE,
}
NAMES: Collection[str] = _RANGES.keys()


def find_problems(setting: str, given: Mapping[str, object], allowed: Collection[str]) -> list[str]:
    """Return the problems of a setting that is a JSON object of arguments.

    Args:
        setting: its name.
        given: the arguments.
        allowed: those of `NAMES` that are arguments here.
    """
    problems = []
    for name, value in given.items():
        if name not in allowed:
            problems.append(f"{setting}: {name!r} is unknown; expected {', '.join(allowed)}")
        elif not _RANGES[name].accepts(value):
            problems.append(f"{setting}: {name}={value!r}: expected {_RANGES[name].description}")
    return problems
