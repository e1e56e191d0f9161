"""The strategy of a run: one of Flower's or a user's own, checked against the settings, built and wrapped."""

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from flwr.app import ArrayRecord
from flwr.serverapp import strategy as flower
from numpy.typing import NDArray

from fedmx.arrays import DTYPES
from fedmx.errors import SettingsError, TrainingFailedError
from fedmx.log import printable
from fedmx.settings import ServerSettings
from server import custom_strategy, privacy, strategy_arguments
from server.flower_strategies import OFFERS, Offer
from server.privacy import Mechanism, PrivacyAccountant
from server.strategy_kinds import Aggregation, State, Stateful

NAMES = tuple(OFFERS)
# Characters of a name in the state.
_LONGEST_NAME = 256
# fedmx counts nodes itself: Flower's wait for nodes has no deadline.
_MINIMUMS = {"min_train_nodes": 1, "min_evaluate_nodes": 1, "min_available_nodes": 1}


@dataclass(frozen=True)
class Plan:
    """A strategy ready to run.

    Attributes:
        strategy: what configures and aggregates.
        least_nodes: the smallest number of updates that it can aggregate.
        aggregation: what it needs of the updates.
        privacy: what counts the privacy spent, where the strategy is wrapped for it.
        mechanism: what clips updates and adds noise, where the strategy is wrapped for it.
        is_custom: whether the strategy is a user's own.
        needs_loss: whether it reads the loss of the nodes' training.
    """

    strategy: flower.Strategy
    least_nodes: int
    aggregation: Aggregation = Aggregation.WHOLE
    privacy: PrivacyAccountant | None = None
    mechanism: Mechanism | None = None
    is_custom: bool = False
    needs_loss: bool = False

    def state(self) -> dict[str, NDArray[Any]]:
        """Return what the strategy carries from round to round, by name; arrays are not copied.

        Raises:
            TrainingFailedError: a user's strategy carries something other than arrays and numbers.
        """
        if not isinstance(self.strategy, Stateful):
            return {}
        with self.guarded("state_dict()"):
            state: object = self.strategy.state_dict()
        if not isinstance(state, Mapping):
            raise TrainingFailedError(
                f"state_dict() of the strategy returned an object of type {type(state).__name__};"
                " expected a dict of arrays and numbers by name"
            )
        return {_check_name(name): _as_array(name, value) for name, value in state.items()}

    def restore(self, state: State) -> None:
        """Restore what `state` returned."""
        if isinstance(self.strategy, Stateful):
            with self.guarded("load_state_dict()"):
                self.strategy.load_state_dict(state)

    @contextmanager
    def guarded(self, method: str) -> Iterator[None]:
        """Turn what a user's own strategy raises in the block into one line; in Flower's, an error is a bug.

        Raises:
            TrainingFailedError: the user's strategy raised an error.
        """
        if not self.is_custom:
            yield
            return
        with custom_strategy.naming_failures(self.strategy, method):
            yield

    @contextmanager
    def undone_on_failure(self) -> Iterator[None]:
        """Restore the strategy if the block fails, so that another attempt finds what the first one found.

        Momentum, moments and clipping norms move in `aggregate_train`, before its result is checked. Flower's
        strategies replace their state instead of writing into it, except for a record that QFedAvg empties.
        A user's strategy may write into its arrays, so its state is copied.
        """
        held = vars(self.strategy)
        before = {
            name: value.copy() if isinstance(value, ArrayRecord) else value for name, value in held.items()
        }
        copied = copy.deepcopy(self.state()) if self.is_custom else {}
        try:
            yield
        except Exception:
            held.update(before)
            if copied:
                self.restore(copied)
            raise


def build(settings: ServerSettings) -> Plan:
    """Build the strategy that the settings name.

    Raises:
        SettingsError: a name or argument is invalid, or the run may have too few nodes for it.
    """
    if custom_strategy.is_custom(settings.strategy):
        return _build_custom(settings)
    if problems := _find_problems_in_strategy(settings):
        raise SettingsError(problems)
    offer = OFFERS[settings.strategy]
    strategy = _construct(offer, settings)
    least = offer.least_nodes(settings.strategy_args)
    if settings.dp_mode == "off":
        return Plan(strategy, least, offer.aggregation, needs_loss=offer.needs_loss)
    wrapped, accountant = privacy.wrap(strategy, settings, _sampled_nodes(settings))
    return Plan(wrapped, least, offer.aggregation, accountant, wrapped)


def find_problems(settings: ServerSettings) -> list[str]:
    """Return what is wrong with settings that are valid by themselves.

    A user's own strategy is imported and created for it, so that its mistakes are found before the server
    listens.
    """
    problems = []
    if settings.num_partitions and settings.min_clients > settings.num_partitions:
        problems.append(
            f"MIN_CLIENTS={settings.min_clients}: more than NUM_PARTITIONS={settings.num_partitions}"
            " nodes are never waited for; expected at most that many"
        )
    if in_strategy := _find_problems_in_strategy(settings):
        return problems + in_strategy
    sampled = _sampled_nodes(settings)
    if settings.min_updates > sampled:
        problems.append(
            f"MIN_UPDATES={settings.min_updates}: with {_describe_nodes(settings)} a round may have"
            f" {sampled} updates; expected at most that many"
        )
    return problems


def needs_loss(settings: ServerSettings) -> bool:
    """Return whether the strategy reads the loss of the nodes' training; a user's own is taken not to."""
    offer = OFFERS.get(settings.strategy)
    return offer is not None and offer.needs_loss


def count_sampled(nodes: int, settings: ServerSettings) -> int:
    """Return how many of the nodes train in a round, as Flower counts them."""
    return max(1, int(nodes * _fraction(settings)))


def _find_problems_in_strategy(settings: ServerSettings) -> list[str]:
    if custom_strategy.is_custom(settings.strategy):
        return _find_problems_in_custom(settings)
    offer = OFFERS.get(settings.strategy)
    if offer is None:
        names = f"{', '.join(NAMES)}, or package.module:factory for a strategy of your own"
        return [f"STRATEGY={settings.strategy!r}: expected one of {names}"]
    problems = strategy_arguments.find_problems("STRATEGY_ARGS", settings.strategy_args, offer.accepted)
    return problems or _find_problems_in_offer(offer, settings)


def _find_problems_in_offer(offer: Offer, settings: ServerSettings) -> list[str]:
    """Return what is wrong with a run of a strategy with valid arguments."""
    least = offer.least_nodes(settings.strategy_args)
    sampled = _sampled_nodes(settings)
    if sampled < least:
        needs = f"STRATEGY={settings.strategy} needs at least {least} nodes per round: {offer.reason}"
        return [f"{_describe_nodes(settings)}: {needs}"]
    if settings.dp_mode == "off":
        return []
    if offer.aggregation is not Aggregation.PLAIN:
        return [_describe_missing_average(settings)]
    return privacy.find_problems(settings, sampled)


def _build_custom(settings: ServerSettings) -> Plan:
    strategy = custom_strategy.build(settings)
    if settings.dp_mode != "off":
        raise SettingsError(_describe_missing_average(settings))
    aggregation = Aggregation.MEAN if custom_strategy.is_mean_based(strategy) else Aggregation.WHOLE
    return Plan(strategy, least_nodes=1, aggregation=aggregation, is_custom=True)


def _find_problems_in_custom(settings: ServerSettings) -> list[str]:
    problems = [] if settings.dp_mode == "off" else [_describe_missing_average(settings)]
    try:
        custom_strategy.create(settings)
    except SettingsError as error:
        problems += error.problems
    return problems


def _describe_missing_average(settings: ServerSettings) -> str:
    averages = " or ".join(name for name, offer in OFFERS.items() if offer.aggregation is Aggregation.PLAIN)
    return (
        f"DP_MODE={settings.dp_mode}: STRATEGY={settings.strategy} is not a plain average, for which the"
        f" noise is calibrated; expected {averages}"
    )


def _construct(offer: Offer, settings: ServerSettings) -> flower.FedAvg:
    given = {argument: getattr(settings, setting) for argument, setting in offer.hyperparameters.items()}
    arguments: Mapping[str, Any] = {**settings.strategy_args, **given, **offer.fixed, **_MINIMUMS}
    return offer.kind(**arguments)


def _check_name(name: object) -> str:
    """Return a name of the state, which becomes a member's name in the checkpoint."""
    if not isinstance(name, str) or not name.isprintable() or not 0 < len(name) <= _LONGEST_NAME:
        raise TrainingFailedError(
            f"state_dict() of the strategy has the name {printable(repr(name))};"
            f" expected at most {_LONGEST_NAME} printable characters"
        )
    return name


def _as_array(name: str, value: object) -> NDArray[Any]:
    try:
        array: NDArray[Any] = np.asarray(value)
    # A list of lists of different lengths.
    except ValueError:
        array = np.array(value, object)
    if array.dtype.name not in DTYPES:
        raise TrainingFailedError(
            f"state_dict()[{name!r}] of the strategy is of type {type(value).__name__}, dtype"
            f" {array.dtype.name}; expected an array of numbers of at most 64 bits, or a number"
        )
    return array


def _nodes(settings: ServerSettings) -> int:
    """Return the smallest number of nodes that a run starts with."""
    return settings.num_partitions or settings.min_clients


def _fraction(settings: ServerSettings) -> float:
    """Return the share of nodes that train in a round; a user's own strategy is taken to train all."""
    if custom_strategy.is_custom(settings.strategy):
        return 1.0
    arguments: Mapping[str, Any] = settings.strategy_args
    return float(arguments.get("fraction_train", 1.0))


def _sampled_nodes(settings: ServerSettings) -> int:
    """Return the smallest number of nodes that train in a round."""
    return count_sampled(_nodes(settings), settings)


def _describe_nodes(settings: ServerSettings) -> str:
    setting = "NUM_PARTITIONS" if settings.num_partitions else "MIN_CLIENTS"
    text = f"{setting}={_nodes(settings)}"
    fraction = _fraction(settings)
    if fraction == 1:
        return text
    return f"{text}, of which {_sampled_nodes(settings)} train in a round (fraction_train={fraction:g})"
