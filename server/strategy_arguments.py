"""Arguments of strategies and of differential privacy: which numbers each of them may be."""

import sys
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class _Range:
    """What an argument may be, in words and as a test of a finite number."""

    words: str
    holds: Callable[[float], bool]
    is_whole: bool = False

    def has(self, value: object) -> bool:
        if isinstance(value, bool) or not isinstance(value, int if self.is_whole else int | float):
            return False
        # Neither NaN, nor infinite, nor an integer that no float can hold.
        return abs(value) <= sys.float_info.max and self.holds(value)


_SHARE = _Range("a number from 0 to 1", lambda value: 0 <= value <= 1)
_BELOW_ONE = _Range("a number of at least 0 and below 1", lambda value: 0 <= value < 1)
# Beyond these, what is computed with it leaves what float32 can hold.
_POSITIVE = _Range("a number from 1e-30 to 1e30", lambda value: 1e-30 <= value <= 1e30)  # noqa: PLR2004 - they are in the words

_RANGES: Mapping[str, _Range] = {
    "fraction_train": _Range("a number above 0 and at most 1", lambda value: 0 < value <= 1),
    "fraction_evaluate": _SHARE,
    "server_learning_rate": _POSITIVE,
    "server_momentum": _BELOW_ONE,
    "eta": _POSITIVE,
    "beta_1": _BELOW_ONE,
    "beta_2": _BELOW_ONE,
    "tau": _POSITIVE,
    "beta": _Range("a number of at least 0 and below 0.5", lambda value: 0 <= value < 0.5),  # noqa: PLR2004 - both ends trimmed by half leave nothing
    "num_malicious_nodes": _Range("an integer of at least 0", lambda value: value >= 0, is_whole=True),
    "num_nodes_to_select": _Range("an integer of at least 1", lambda value: value >= 1, is_whole=True),
    # An exponent of losses, whose powers underflow with more.
    "q": _Range("a number from 0 to 100", lambda value: 0 <= value <= 100),  # noqa: PLR2004 - they are in the words
    # Beyond these, the accounting's squares leave what a float can hold.
    "noise_multiplier": _Range("a number from 1e-6 to 1e6", lambda value: 1e-6 <= value <= 1e6),  # noqa: PLR2004 - said beside it
    "clipping_norm": _POSITIVE,
    "initial_clipping_norm": _POSITIVE,
    "target_clipped_quantile": _SHARE,
    "clip_norm_lr": _POSITIVE,
    "clipped_count_stddev": _POSITIVE,
}
NAMES: Collection[str] = _RANGES.keys()


def find_problems(setting: str, given: Mapping[str, object], allowed: Collection[str]) -> list[str]:
    """List what is wrong with a setting's JSON object.

    Args:
        setting: its name.
        given: the arguments.
        allowed: which of `NAMES` may be given.
    """
    problems = []
    for name, value in given.items():
        if name not in allowed:
            problems.append(f"{setting}: {name!r} is unknown; expected {', '.join(allowed)}")
        elif not _RANGES[name].has(value):
            problems.append(f"{setting}: {name}={value!r}: expected {_RANGES[name].words}")
    return problems
