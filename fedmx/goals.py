"""Goals of a run: the metric that chooses its best round, and the target at which it stops."""

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from fedmx.parsing import is_name, number

_PARTS = re.compile(r"(?P<metric>[^<>=]+)(?P<comparison>[<>]=?)(?P<value>[^<>=]+)")
_COMPARISONS: Mapping[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}


@dataclass(frozen=True)
class BestMetric:
    """The metric of the evaluation that chooses the best round: `NAME:min` or `NAME:max`.

    Attributes:
        metric: its name.
        is_higher_better: whether the largest value is the best one.
    """

    metric: str
    is_higher_better: bool = False

    @classmethod
    def parse(cls, text: str) -> "BestMetric":
        """Parse `METRIC:min` or `METRIC:max`.

        Raises:
            ValueError: the text is neither.
        """
        metric, _, direction = text.rpartition(":")
        if not is_name(metric) or direction not in ("min", "max"):
            raise ValueError("expected METRIC:min or METRIC:max, such as accuracy:max")
        return cls(metric, direction == "max")

    def is_better(self, value: float, best: float) -> bool:
        """Return whether a value improves on the best one so far."""
        return value > best if self.is_higher_better else value < best

    def __str__(self) -> str:
        return f"{self.metric}:{'max' if self.is_higher_better else 'min'}"


@dataclass(frozen=True)
class Target:
    """A bound that a metric of the evaluation has to reach.

    Attributes:
        metric: its name.
        comparison: `>=`, `<=`, `>` or `<`.
        value: the bound.
    """

    metric: str
    comparison: str
    value: float

    @classmethod
    def parse(cls, text: str) -> "Target":
        """Parse a name, a comparison and a number, such as `accuracy>=0.99`.

        Raises:
            ValueError: the text is something else.
        """
        parts = _PARTS.fullmatch(text)
        if parts is None or not is_name(parts["metric"].strip()):
            raise ValueError("expected METRIC, then >=, <=, > or <, and a number, such as accuracy>=0.99")
        try:
            value = number()(parts["value"].strip())
        except ValueError:
            raise ValueError(f"expected a number after {parts['comparison']}") from None
        return cls(parts["metric"].strip(), parts["comparison"], value)

    def is_reached(self, value: float) -> bool:
        """Return whether a value of the metric reaches the target."""
        return _COMPARISONS[self.comparison](value, self.value)

    def __str__(self) -> str:
        return f"{self.metric}{self.comparison}{self.value}"
