"""Flower's strategies as fedmx offers them: what each one needs, and what it carries from round to round.

A strategy whose rounds depend on earlier ones has `state_dict` and `load_state_dict`, which Flower's own
classes lack. Everything else in a strategy follows from its arguments or is set when a round is configured.
"""

import copy
import inspect
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord
from flwr.serverapp import Grid
from flwr.serverapp import strategy as flower
from numpy.typing import NDArray

from fedmx import arrays
from fedmx.arrays import HeldArray
from server import strategy_arguments
from server.strategy_kinds import Aggregation, State
from server.update import LOSS

Arguments = Mapping[str, Any]
Aggregate = tuple[ArrayRecord | None, MetricRecord | None]


class FedAvgM(flower.FedAvgM):
    """FedAvgM, which carries its momentum."""

    def narrow(self, name: str) -> Self:
        """Return the strategy of one array, with its momentum."""
        part = copy.copy(self)
        if self.current_arrays is not None:
            part.current_arrays = arrays.make_record({name: self.current_arrays[name]})
            if self.momentum_vector is not None:
                # Flower pairs both by position.
                place = list(self.current_arrays).index(name)
                part.momentum_vector = [self.momentum_vector[place]]
        return part

    def widen(self, parts: Mapping[str, Self]) -> None:
        """Adopt the model and the momentum."""
        records = [part.current_arrays for part in parts.values() if part.current_arrays is not None]
        self.current_arrays = arrays.make_record(
            {name: arrays.hold(array) for record in records for name, array in record.items()}
        )
        self.momentum_vector = [
            values for part in parts.values() for values in part.momentum_vector or ()
        ] or None

    def state_dict(self) -> State:
        """Return the momentum, one array per array of the model."""
        return {f"momentum_vector/{i}": values for i, values in enumerate(self.momentum_vector or ())}

    def load_state_dict(self, state: State) -> None:
        """Restore the momentum; before the first round there is none."""
        self.momentum_vector = list(state.values()) or None


class _Moments(flower.FedAvg):
    """The state of Flower's FedOpt classes: first and second moments by array name."""

    current_arrays: dict[str, NDArray[Any]] | None
    m_t: dict[str, NDArray[Any]] | None
    v_t: dict[str, NDArray[Any]] | None

    def configure_train(
        self, server_round: int, record: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        # As Flower's, without a copy of the model.
        self.current_arrays = {name: arrays.view(array) for name, array in record.items()}
        return flower.FedAvg.configure_train(self, server_round, record, config, grid)

    def narrow(self, name: str) -> Self:
        part = copy.copy(self)
        part.current_arrays, part.m_t, part.v_t = (
            {name: values[name]} if values else values for values in (self.current_arrays, self.m_t, self.v_t)
        )
        return part

    def widen(self, parts: Mapping[str, Self]) -> None:
        self.m_t = {name: part.m_t[name] for name, part in parts.items() if part.m_t}
        self.v_t = {name: part.v_t[name] for name, part in parts.items() if part.v_t}

    def state_dict(self) -> State:
        first = {f"m_t/{name}": values for name, values in (self.m_t or {}).items()}
        second = {f"v_t/{name}": values for name, values in (self.v_t or {}).items()}
        return first | second

    def load_state_dict(self, state: State) -> None:
        self.m_t = _pick(state, "m_t/") or None
        self.v_t = _pick(state, "v_t/") or None


class FedAdagrad(_Moments, flower.FedAdagrad):
    """FedAdagrad, which carries its moments."""


class FedYogi(_Moments, flower.FedYogi):
    """FedYogi, which carries its moments."""


class FedAdam(_Moments, flower.FedAdam):
    """FedAdam, which carries its moments and computes in the model's dtype.

    Flower multiplies `eta` by numpy scalars. Since numpy 2 (NEP 50) such a product turns float32 arrays into
    float64, so the same run would end with other bits than under numpy 1.26.
    """

    def __init__(self, *, eta: float = 0.1, **arguments: Any) -> None:
        super().__init__(eta=_PythonFloat(eta), **arguments)


class _PythonFloat(float):
    """A float whose product, divided by a number, is a Python float, whatever the other operands are."""

    def __mul__(self, other: object) -> "_PythonFloat":
        return _PythonFloat(float.__mul__(self, float(other)))  # type: ignore[arg-type]  # a number

    def __truediv__(self, other: object) -> float:
        return float.__truediv__(self, float(other))  # type: ignore[arg-type]  # a number


class FedProx(flower.FedProx):
    """FedProx, which accepts a weight of 0 silently: PROXIMAL_MU's default is not worth a warning."""

    def __init__(self, *, proximal_mu: float, **arguments: Any) -> None:
        super().__init__(proximal_mu=1.0, **arguments)
        self.proximal_mu = proximal_mu


class Bulyan(flower.Bulyan):
    """Bulyan, computed in float64.

    It averages the updates closest to the median in the order in which numpy's partition leaves them, which
    differs between versions of numpy and between CPUs. A float64 holds the sum of some float32 values
    exactly, unless one is more than 2**26 times as large as another, so their order does not matter. The
    last bits of a float64 model may still depend on it.
    """

    def aggregate_train(self, server_round: int, replies: Iterable[Message]) -> Aggregate:
        """Aggregate the updates in float64."""
        return super().aggregate_train(server_round, map(_as_float64, replies))


class QFedAvg(flower.QFedAvg):
    """QFedAvg, computed in float64, with the learning rate that the nodes of the round are sent.

    Flower multiplies float32 arrays by numpy scalars, which numpy 2 computes in float64 and numpy 1.26 does
    not (NEP 50).
    """

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Keep the round's learning rate, from which the length of steps is estimated."""
        self.client_learning_rate = float(str(config["learning-rate"]))
        return super().configure_train(server_round, arrays, config, grid)

    def aggregate_train(self, server_round: int, replies: Iterable[Message]) -> Aggregate:
        """Aggregate the updates in float64."""
        return super().aggregate_train(server_round, map(_as_float64, replies))


class _Float64(HeldArray):
    """Another array's values in float64, which are in memory only while they are used.

    Args:
        source: the other array.
    """

    def __init__(self, source: Array) -> None:
        self.__dict__["_source"] = source
        self.dtype = "float64"
        self.shape = source.shape
        self.stype = source.stype

    @property
    def values(self) -> NDArray[np.generic]:
        """The values."""
        return arrays.view(self.__dict__["_source"]).astype(np.float64)

    def numpy(self) -> NDArray[Any]:
        """Return the values, which may be written to."""
        return np.asarray(self.values)


def _as_float64(reply: Message) -> Message:
    """Convert a reply's arrays in place, each when it is used."""
    for record in reply.content.array_records.values():
        for name, array in record.items():
            record[name] = _Float64(array)
    return reply


@dataclass(frozen=True)
class Offer:
    """A strategy that fedmx offers by name.

    Attributes:
        kind: its class.
        hyperparameters: argument -> the setting that it is taken from.
        fixed: arguments that fedmx determines itself.
        least_nodes: returns the smallest number of updates that it can aggregate, from its arguments.
        reason: the reason for that number.
        aggregation: what it needs of the updates.
    """

    kind: type[flower.FedAvg]
    hyperparameters: Mapping[str, str]
    fixed: Arguments
    least_nodes: Callable[[Arguments], int]
    reason: str
    aggregation: Aggregation

    @property
    def needs_loss(self) -> bool:
        """Whether it reads the loss of the nodes' training."""
        return "train_loss_key" in self.fixed

    @property
    def accepted(self) -> list[str]:
        """Names of the arguments allowed in STRATEGY_ARGS; fedmx determines nodes, records and metrics."""
        # A subclass here may hide the parameters of Flower's class behind **arguments.
        classes = [kind for kind in self.kind.__mro__ if kind.__module__.startswith("flwr.")]
        parameters = inspect.signature(classes[0]).parameters
        return [name for name in parameters if name in strategy_arguments.NAMES]


def _offer(
    kind: type[flower.FedAvg],
    hyperparameters: Mapping[str, str] | None = None,
    *,
    fixed: Arguments | None = None,
    least_nodes: tuple[Callable[[Arguments], int], str] = (lambda _: 1, ""),
    aggregation: Aggregation = Aggregation.MEAN,
) -> Offer:
    return Offer(kind, hyperparameters or {}, fixed or {}, *least_nodes, aggregation)


def _count_malicious(given: Arguments) -> int:
    return int(given.get("num_malicious_nodes", 0))


def _count_least_trimmed(given: Arguments) -> int:
    beta = given.get("beta", 0.2)
    # The smallest of floats has no finite inverse.
    return math.ceil(min(1 / beta, 2**53)) if beta else 1


def _pick(state: State, prefix: str) -> dict[str, NDArray[Any]]:
    return {name.removeprefix(prefix): values for name, values in state.items() if name.startswith(prefix)}


_LEARNING_RATE = {"eta_l": "learning_rate"}
_KRUM = (
    lambda given: 2 * _count_malicious(given) + 3,
    "its guarantee needs 2 * num_malicious_nodes + 3 updates",
)
_BULYAN = (lambda given: 4 * _count_malicious(given) + 3, "it needs 4 * num_malicious_nodes + 3 updates")

OFFERS: Mapping[str, Offer] = {
    "fedavg": _offer(flower.FedAvg, aggregation=Aggregation.PLAIN),
    "fedavgm": _offer(FedAvgM),
    "fedprox": _offer(FedProx, {"proximal_mu": "proximal_mu"}, aggregation=Aggregation.PLAIN),
    "fedadagrad": _offer(FedAdagrad, _LEARNING_RATE),
    "fedadam": _offer(FedAdam, _LEARNING_RATE),
    "fedyogi": _offer(FedYogi, _LEARNING_RATE),
    "fedmedian": _offer(
        flower.FedMedian,
        least_nodes=(lambda _: 3, "the median of two updates is their mean"),
        aggregation=Aggregation.BY_ELEMENT,
    ),
    "fedtrimmedavg": _offer(
        flower.FedTrimmedAvg,
        least_nodes=(_count_least_trimmed, "with fewer than 1 / beta it trims nothing"),
        aggregation=Aggregation.BY_ELEMENT,
    ),
    "krum": _offer(flower.Krum, least_nodes=_KRUM, aggregation=Aggregation.WHOLE),
    "multikrum": _offer(flower.MultiKrum, least_nodes=_KRUM, aggregation=Aggregation.WHOLE),
    "bulyan": _offer(Bulyan, least_nodes=_BULYAN, aggregation=Aggregation.WHOLE),
    "qfedavg": _offer(
        QFedAvg,
        {"client_learning_rate": "learning_rate"},
        fixed={"train_loss_key": LOSS},
        aggregation=Aggregation.WHOLE,
    ),
}
