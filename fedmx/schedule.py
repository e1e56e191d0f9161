"""The learning rate over the rounds of a run, as a factor of LEARNING_RATE.

A schedule depends on nothing but the number of the round, from 1, so a resumed run continues it.
"""

import math
from dataclasses import dataclass, replace

from fedmx.parsing import integer, number

_EXPECTED = (
    "expected constant, step:EVERY:FACTOR, cosine:ROUNDS[:LAST] or warmup:ROUNDS, or warmup:ROUNDS+ followed"
    " by one of the others"
)
_rounds = integer(at_least=1)


@dataclass(frozen=True)
class LearningRateSchedule:
    """A schedule; `str` returns the text that it is parsed from.

    Attributes:
        kind: `constant`, `step` or `cosine`.
        rounds: for `step`, the rounds between two steps; for `cosine`, the rounds until the last factor.
        share: for `step`, the factor of each step; for `cosine`, the last factor.
        warmup: number of rounds in which the rate rises, before the others.
    """

    kind: str = "constant"
    rounds: int = 0
    share: float = 1.0
    warmup: int = 0

    @classmethod
    def parse(cls, text: str) -> "LearningRateSchedule":
        """Parse a schedule: a warm-up, another kind, or both joined by `+`.

        Raises:
            ValueError: the text is not a schedule.
        """
        *before, last = text.split("+")
        if not before and not last.startswith("warmup"):
            return cls._parse_part(last)
        if not before:
            return cls(warmup=_parse_warmup(last))
        if len(before) > 1 or not before[0].startswith("warmup"):
            raise ValueError(_EXPECTED)
        return replace(cls._parse_part(last), warmup=_parse_warmup(before[0]))

    @classmethod
    def _parse_part(cls, text: str) -> "LearningRateSchedule":
        try:
            match text.split(":"):
                case ["constant"]:
                    return cls()
                case ["step", every, factor]:
                    return cls("step", _rounds(every), number(above=0, at_most=1)(factor))
                case ["cosine", rounds]:
                    return cls("cosine", _rounds(rounds), 0.0)
                case ["cosine", rounds, last]:
                    return cls("cosine", _rounds(rounds), number(at_least=0, at_most=1)(last))
        except ValueError as error:
            raise ValueError(f"{error} in {text}; {_EXPECTED}") from None
        raise ValueError(_EXPECTED)

    def factor(self, number: int) -> float:
        """Return by what LEARNING_RATE is multiplied in a round.

        It is 1 in the last round of a warm-up; the other kinds count their rounds from the next one.

        Returns:
            From 0 to 1.
        """
        if number <= self.warmup:
            return number / self.warmup
        done = number - self.warmup - 1
        if self.kind == "step":
            return float(self.share ** (done // self.rounds))
        if self.kind == "cosine":
            return self._fall(done)
        return 1.0

    def _fall(self, done: int) -> float:
        if done >= self.rounds:
            return self.share
        return self.share + (1 - self.share) * (1 + math.cos(math.pi * done / self.rounds)) / 2

    def __str__(self) -> str:
        warmup = f"warmup:{self.warmup}" if self.warmup else ""
        if self.kind == "constant":
            return warmup or self.kind
        share = f":{self.share}" if self.kind == "step" or self.share else ""
        return f"{warmup}{'+' if warmup else ''}{self.kind}:{self.rounds}{share}"


def _parse_warmup(text: str) -> int:
    try:
        return _rounds(text.removeprefix("warmup:"))
    except ValueError as error:
        raise ValueError(f"{error} in {text}; {_EXPECTED}") from None
