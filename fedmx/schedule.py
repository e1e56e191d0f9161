"""The learning rate over the rounds of a run, as a share of LEARNING_RATE.

A schedule counts rounds from 1, and depends on nothing else: a resumed run continues it.
"""

import math
from dataclasses import dataclass, replace

from fedmx.parsing import integer, number

_EXPECTED = (
    "expected constant, step:EVERY:FACTOR or cosine:ROUNDS[:LAST], with warmup:ROUNDS+ before it or without"
)
_rounds = integer(at_least=1)


@dataclass(frozen=True)
class LearningRateSchedule:
    """A schedule; `str` returns the text that it is parsed from.

    Attributes:
        kind: `constant`, `step` or `cosine`.
        rounds: of `step`, after how many rounds each step comes; of `cosine`, how long the rate falls.
        share: of `step`, by what each step multiplies the rate; of `cosine`, the share that remains.
        warmup: how many rounds the rate rises before.
    """

    kind: str = "constant"
    rounds: int = 0
    share: float = 1.0
    warmup: int = 0

    @classmethod
    def parse(cls, text: str) -> "LearningRateSchedule":
        """Parse parts joined by `+`: a warm-up or none, then at most one other."""
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
        """Return the share of LEARNING_RATE with which nodes train in a round.

        In the last round of a warm-up it is 1; what follows counts its rounds from there.
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
