"""What strategies have in common beside Flower's interface: their state, and their need of the updates."""

from collections.abc import Mapping
from enum import Enum, auto
from typing import Any, Protocol, Self, runtime_checkable

from numpy.typing import NDArray

State = Mapping[str, NDArray[Any]]


@runtime_checkable
class Stateful(Protocol):
    """A strategy that carries arrays or numbers from round to round."""

    def state_dict(self) -> Mapping[str, Any]:
        """Return the state by name, as arrays or numbers."""

    def load_state_dict(self, state: State) -> None:
        """Restore what `state_dict` returned; every value is an array."""


class Aggregation(Enum):
    """What a strategy needs of the updates of a round, which decides how much memory it needs.

    Attributes:
        PLAIN: their weighted mean, which is all that it computes.
        MEAN: only their weighted mean.
        BY_ELEMENT: each value of all updates, and no other value at the same time.
        WHOLE: all of them.
    """

    PLAIN = auto()
    MEAN = auto()
    BY_ELEMENT = auto()
    WHOLE = auto()


@runtime_checkable
class ByArray(Protocol):
    """A strategy that may be called for one array of the model at a time."""

    def narrow(self, name: str) -> Self:
        """Return the strategy of one array alone, which shares nothing that it changes with this one."""

    def widen(self, parts: Mapping[str, Self]) -> None:
        """Adopt the state of the strategies of all arrays, by name in the model's order."""
