"""A name and arguments -> a Flower strategy, with what it needs: least nodes, keys, hyperparameters."""

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from flwr.serverapp import strategy as flower

from fedmx.errors import SettingsError
from fedmx.settings import ServerSettings
from server.privacy import PrivacyLedger, wrap

# What fedmx sets itself: it counts nodes and it names the records and metrics.
_OWNED = frozenset(
    ("min_train_nodes", "min_evaluate_nodes", "min_available_nodes", "weighted_by_key", "arrayrecord_key")
    + ("configrecord_key", "train_metrics_aggr_fn", "evaluate_metrics_aggr_fn", "selection_rule")
)

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


def _malicious(arguments: Arguments) -> int:
    return int(arguments.get("num_malicious_nodes", 0))


def _least_trimmed(arguments: Arguments) -> int:
    beta = arguments.get("beta", 0.2)
    return math.ceil(1 / beta) if beta > 0 else 1


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
    "krum": _Known(flower.Krum, {}, lambda a: 2 * _malicious(a) + 3, _KRUM),
    "multikrum": _Known(flower.MultiKrum, {}, lambda a: 2 * _malicious(a) + 3, _KRUM),
    "bulyan": _Known(
        flower.Bulyan, {}, lambda a: 4 * _malicious(a) + 3, "it needs 4 * num_malicious_nodes + 3 updates"
    ),
    "qfedavg": _Known(flower.QFedAvg, {"client_learning_rate": "learning_rate"}),
}
NAMES = tuple(_KNOWN)


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
    privacy: PrivacyLedger | None = None


def build(settings: ServerSettings) -> Plan:
    """Make the strategy that the settings name.

    Raises:
        SettingsError: a name or argument is unknown or wrong, or the run may have too few nodes for it.
    """
    known = _KNOWN.get(settings.strategy)
    if known is None:
        raise SettingsError(f"STRATEGY={settings.strategy!r}: expected one of {', '.join(NAMES)}")
    allowed = _allowed_arguments(known)
    problems = list(_find_wrong_arguments("STRATEGY_ARGS", settings.strategy_args, allowed))
    if problems:
        raise SettingsError(problems)
    least = known.least_nodes(settings.strategy_args)
    _check_nodes(settings, least, known.why)
    strategy = _construct(known, settings)
    if settings.dp_mode == "off":
        return Plan(strategy, least)
    if known.kind.aggregate_train is not flower.FedAvg.aggregate_train:
        raise SettingsError(
            f"DP_MODE={settings.dp_mode}: STRATEGY={settings.strategy} is no plain average, for which the noise is"
            " calibrated; expected fedavg or fedprox"
        )
    wrapped, ledger = wrap(strategy, settings)
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
    return problems


def _construct(known: _Known, settings: ServerSettings) -> flower.FedAvg:
    given = {argument: getattr(settings, setting) for argument, setting in known.hyperparameters.items()}
    keys = {"train_loss_key": "loss"} if known.kind is flower.QFedAvg else {}
    minimums = {"min_train_nodes": 1, "min_evaluate_nodes": 1, "min_available_nodes": 1}
    try:
        return known.kind(**settings.strategy_args, **given, **keys, **minimums)
    except ValueError as error:
        raise SettingsError(f"STRATEGY_ARGS: {error}") from None


def _allowed_arguments(known: _Known) -> dict[str, inspect.Parameter]:
    taken = _OWNED | set(known.hyperparameters) | {"self", "train_loss_key"}
    parameters = inspect.signature(known.kind.__init__).parameters
    return {name: parameter for name, parameter in parameters.items() if name not in taken}


def _find_wrong_arguments(
    setting: str, arguments: Arguments, allowed: Mapping[str, inspect.Parameter]
) -> list[str]:
    problems = []
    for name, value in arguments.items():
        if name not in allowed:
            problems.append(f"{setting}: {name!r} is unknown; expected {', '.join(allowed)}")
        elif not _is_of_kind(value, allowed[name].annotation):
            kind = "an integer of at least 0" if allowed[name].annotation is int else "a finite number"
            problems.append(f"{setting}: {name}={value!r}: expected {kind}")
        elif name.startswith("fraction_") and not 0 <= value <= 1:
            problems.append(f"{setting}: {name}={value!r}: expected a number from 0 to 1")
    if arguments.get("fraction_train") == 0:
        problems.append(f"{setting}: fraction_train=0 trains nothing; expected a number above 0")
    return problems


def _is_of_kind(value: object, annotation: object) -> bool:
    if isinstance(value, bool):
        return False
    if annotation is int:
        return isinstance(value, int) and value >= 0
    return isinstance(value, int | float) and math.isfinite(value)


def _check_nodes(settings: ServerSettings, least: int, why: str) -> None:
    """Refuse a run whose rounds may have fewer updates than the strategy can aggregate."""
    setting = "NUM_PARTITIONS" if settings.num_partitions else "MIN_CLIENTS"
    nodes = settings.num_partitions or settings.min_clients
    fraction = settings.strategy_args.get("fraction_train", 1.0)
    sampled = max(1, int(nodes * fraction)) if isinstance(fraction, int | float) else nodes
    if sampled < least:
        of_them = (
            f", of which {sampled} train in a round (fraction_train={fraction:g})" if fraction != 1 else ""
        )
        raise SettingsError(
            f"{setting}={nodes}{of_them}: STRATEGY={settings.strategy} needs at least {least} nodes a round: {why}"
        )
