"""A name and arguments -> a Flower strategy, with what it needs: least nodes, keys, hyperparameters."""

import inspect
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from flwr.app import ArrayRecord
from flwr.serverapp import strategy as flower
from numpy.typing import NDArray

from fedmx.errors import SettingsError
from fedmx.settings import ServerSettings
from server import strategy_arguments
from server.privacy import AdaptiveClipping, PrivacyAccountant, wrap

Arguments = Mapping[str, Any]


@dataclass(frozen=True)
class _Known:
    """A strategy fedmx offers.

    Attributes:
        kind: Flower's class.
        hyperparameters: argument -> the setting that gives it.
        least_nodes: the fewest updates it can aggregate, from its arguments.
        why: the reason for that number.
    """

    kind: type[flower.FedAvg]
    hyperparameters: Mapping[str, str]
    least_nodes: Callable[[Arguments], int] = lambda _: 1
    why: str = ""

    @property
    def accepted(self) -> list[str]:
        """Names of the arguments that STRATEGY_ARGS may give; nodes, records and metrics are fedmx's."""
        parameters = inspect.signature(self.kind.__init__).parameters
        return [name for name in parameters if name in strategy_arguments.NAMES]


def _malicious(given: Arguments) -> int:
    return int(given.get("num_malicious_nodes", 0))


def _least_trimmed(given: Arguments) -> int:
    beta = given.get("beta", 0.2)
    return math.ceil(min(1 / beta, 2**53)) if beta else 1  # the least of floats has no finite inverse


_LEARNING_RATE = {"eta_l": "learning_rate"}
_KRUM = "its guarantee needs 2 * num_malicious_nodes + 3 updates"

_KNOWN: Mapping[str, _Known] = {
    "fedavg": _Known(flower.FedAvg, {}),
    "fedavgm": _Known(flower.FedAvgM, {}),
    "fedprox": _Known(flower.FedProx, {"proximal_mu": "proximal_mu"}),
    "fedadagrad": _Known(flower.FedAdagrad, _LEARNING_RATE),
    "fedadam": _Known(flower.FedAdam, _LEARNING_RATE),
    "fedyogi": _Known(flower.FedYogi, _LEARNING_RATE),
    "fedmedian": _Known(flower.FedMedian, {}, lambda _: 3, "the median of two updates is their mean"),
    "fedtrimmedavg": _Known(
        flower.FedTrimmedAvg, {}, _least_trimmed, "with fewer than 1 / beta it trims nothing"
    ),
    "krum": _Known(flower.Krum, {}, lambda given: 2 * _malicious(given) + 3, _KRUM),
    "multikrum": _Known(flower.MultiKrum, {}, lambda given: 2 * _malicious(given) + 3, _KRUM),
    "bulyan": _Known(
        flower.Bulyan,
        {},
        lambda given: 4 * _malicious(given) + 3,
        "it needs 4 * num_malicious_nodes + 3 updates",
    ),
    "qfedavg": _Known(flower.QFedAvg, {"client_learning_rate": "learning_rate"}),
}
NAMES = tuple(_KNOWN)
_MOMENTS = ("m_t", "v_t")


@dataclass(frozen=True)
class Plan:
    """A strategy ready to run.

    Attributes:
        strategy: what configures and aggregates.
        least_nodes: the fewest updates it can aggregate.
        privacy: what counts the privacy spent, where the strategy is wrapped for it.
    """

    strategy: flower.Strategy
    least_nodes: int
    privacy: PrivacyAccountant | None = None

    def state(self) -> dict[str, NDArray[Any]]:
        """Give what the strategy carries from round to round, by name; its arrays are not copied.

        That is momentum (FedAvgM), moments (FedAdagrad, FedAdam, FedYogi) and the norm of adaptive clipping.
        All else follows from the settings, or is set anew when a round is configured.
        """
        held = vars(self.strategy)
        state = {f"momentum_vector/{i}": v for i, v in enumerate(held.get("momentum_vector") or ())}
        for moment in _MOMENTS:
            state |= {f"{moment}/{name}": values for name, values in (held.get(moment) or {}).items()}
        if isinstance(self.strategy, AdaptiveClipping):
            state["clipping_norm"] = np.asarray(held["clipping_norm"], np.float64)
        return state

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take over what `state` gave."""
        held = vars(self.strategy)
        if momentum := [values for name, values in state.items() if name.startswith("momentum_vector/")]:
            held["momentum_vector"] = momentum
        for moment in _MOMENTS:
            prefix = f"{moment}/"
            named = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
            if named:
                held[moment] = named
        if isinstance(self.strategy, AdaptiveClipping) and "clipping_norm" in state:
            held["clipping_norm"] = float(state["clipping_norm"])

    @contextmanager
    def undone_on_failure(self) -> Iterator[None]:
        """Put the strategy's state back if the block fails, so that trying again finds what it found before.

        Momentum, second moments and clipping norms move in `aggregate_train`, before anybody has looked at
        what it gives. Strategies replace their state instead of writing into it, but for a record that
        QFedAvg empties.
        """
        state = vars(self.strategy)
        before = {k: v.copy() if isinstance(v, ArrayRecord) else v for k, v in state.items()}
        try:
            yield
        except Exception:
            state.update(before)
            raise


def build(settings: ServerSettings) -> Plan:
    """Make the strategy that the settings name.

    Raises:
        SettingsError: a name or argument is unknown or wrong, or the run may have too few nodes for it.
    """
    known = _KNOWN.get(settings.strategy)
    if known is None:
        raise SettingsError(f"STRATEGY={settings.strategy!r}: expected one of {', '.join(NAMES)}")
    problems = strategy_arguments.find_problems("STRATEGY_ARGS", settings.strategy_args, known.accepted)
    if problems:
        raise SettingsError(problems)
    least = known.least_nodes(settings.strategy_args)
    if _sampled_nodes(settings) < least:
        raise SettingsError(
            f"{_describe_nodes(settings)}: STRATEGY={settings.strategy} needs at least {least} nodes a round:"
            f" {known.why}"
        )
    strategy = _construct(known, settings)
    if settings.dp_mode == "off":
        return Plan(strategy, least)
    if known.kind.aggregate_train is not flower.FedAvg.aggregate_train:
        raise SettingsError(
            f"DP_MODE={settings.dp_mode}: STRATEGY={settings.strategy} is no plain average, for which the"
            " noise is calibrated; expected fedavg or fedprox"
        )
    wrapped, ledger = wrap(strategy, settings, _sampled_nodes(settings))
    return Plan(wrapped, least, ledger)


def find_problems(settings: ServerSettings) -> list[str]:
    """List what is wrong with the settings beyond each one's form."""
    problems = []
    if settings.num_partitions and settings.min_clients > settings.num_partitions:
        problems.append(
            f"MIN_CLIENTS={settings.min_clients}: more than NUM_PARTITIONS={settings.num_partitions}"
            " nodes are never waited for; expected at most that many"
        )
    try:
        build(settings)
    except SettingsError as error:
        problems += error.problems
    else:
        if settings.min_updates > (sampled := _sampled_nodes(settings)):
            problems.append(
                f"MIN_UPDATES={settings.min_updates}: with {_describe_nodes(settings)} a round may have"
                f" {sampled} updates; expected at most that many"
            )
    return problems


def _construct(known: _Known, settings: ServerSettings) -> flower.FedAvg:
    given = {argument: getattr(settings, setting) for argument, setting in known.hyperparameters.items()}
    keys: Arguments = {"train_loss_key": "loss"} if known.kind is flower.QFedAvg else {}
    minimums: Arguments = {"min_train_nodes": 1, "min_evaluate_nodes": 1, "min_available_nodes": 1}
    everything: Arguments = {**settings.strategy_args, **given, **keys, **minimums}
    return known.kind(**everything)


def _nodes(settings: ServerSettings) -> int:
    """The fewest nodes that a run begins with."""
    return settings.num_partitions or settings.min_clients


def _fraction(settings: ServerSettings) -> float:
    given: Arguments = settings.strategy_args
    return float(given.get("fraction_train", 1.0))


def count_sampled(nodes: int, settings: ServerSettings) -> int:
    """Return how many of so many nodes train in a round, as Flower counts them."""
    return max(1, int(nodes * _fraction(settings)))


def _sampled_nodes(settings: ServerSettings) -> int:
    """The fewest nodes that train in a round."""
    return count_sampled(_nodes(settings), settings)


def _describe_nodes(settings: ServerSettings) -> str:
    setting = "NUM_PARTITIONS" if settings.num_partitions else "MIN_CLIENTS"
    words = f"{setting}={_nodes(settings)}"
    if _fraction(settings) == 1:
        return words
    return (
        f"{words}, of which {_sampled_nodes(settings)} train in a round"
        f" (fraction_train={_fraction(settings):g})"
    )
