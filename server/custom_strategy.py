"""A user's own strategy: `STRATEGY=package.module:factory`."""

import importlib
import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any

from flwr.app import Message
from flwr.serverapp import strategy as flower

from fedmx.errors import FederationError, SettingsError, TrainingFailedError
from fedmx.log import printable, warn
from fedmx.settings import ServerSettings
from server.strategy_kinds import Stateful

_EXPECTED = "expected package.module:factory, a function that returns a flwr.serverapp.strategy.Strategy"


def is_custom(name: str) -> bool:
    """Return whether a name is a factory's rather than a strategy's."""
    return ":" in name


def is_mean_based(strategy: flower.Strategy) -> bool:
    """Return whether a user's strategy declares that it needs only the mean of the updates.

    It then gets the mean as one reply of weight 1, so that memory does not grow with nodes.
    """
    return getattr(strategy, "mean_based", False) is True


def find_factory(name: str) -> Callable[..., object]:
    """Import a user's module and return the factory in it.

    Args:
        name: the setting STRATEGY, `package.module:factory`.

    Raises:
        SettingsError: the module cannot be imported, or has no such function.
    """
    module_name, _, factory_name = name.partition(":")
    if not all(part.isidentifier() for part in [*module_name.split("."), factory_name]):
        raise SettingsError(f"STRATEGY={name!r}: {_EXPECTED}")
    with _naming_errors(name, f"importing {module_name}"):
        module = importlib.import_module(module_name)
    factory = getattr(module, factory_name, None)
    if not callable(factory):
        found = "is missing" if factory is None else f"is of type {type(factory).__name__}"
        raise SettingsError(f"STRATEGY={name}: {factory_name} {found}; {_EXPECTED}")
    return factory  # type: ignore[no-any-return]  # mypy: `callable` proves no more than Any


def create(settings: ServerSettings) -> flower.Strategy:
    """Call the user's factory with STRATEGY_ARGS.

    Raises:
        SettingsError: the factory raises an error, or returns something else.
    """
    name = settings.strategy
    factory = find_factory(name)
    with _naming_errors(name, f"calling it with STRATEGY_ARGS={dict(settings.strategy_args)}"):
        strategy = factory(**settings.strategy_args)
    if not isinstance(strategy, flower.Strategy):
        raise SettingsError(f"STRATEGY={name}: returned {type(strategy).__name__}; {_EXPECTED}")
    return strategy


def build(settings: ServerSettings) -> flower.Strategy:
    """Build the user's strategy for a run.

    The minimums of a strategy that is a FedAvg become 1: fedmx counts nodes itself, and Flower's wait for
    nodes has no deadline.

    Raises:
        SettingsError: as `create`.
    """
    strategy = create(settings)
    if isinstance(strategy, flower.FedAvg):
        strategy.min_train_nodes = 1
        strategy.min_evaluate_nodes = 1
        strategy.min_available_nodes = 1
    if settings.resume != "never" and not isinstance(strategy, Stateful):
        warn(
            "strategy has no state_dict and load_state_dict, a resumed run starts it without state",
            strategy=settings.strategy,
        )
    return strategy


@contextmanager
def naming_failures(strategy: flower.Strategy, method: str) -> Iterator[None]:
    """Turn whatever a user's strategy raises in a run into one line that names the method.

    Raises:
        TrainingFailedError: for everything that is not a line already.
    """
    try:
        yield
    except FederationError:
        raise
    except (Exception, SystemExit) as error:
        raise TrainingFailedError(
            f"{method} of the strategy {type(strategy).__name__} raised {type(error).__name__}:"
            f" {printable(str(error))}{_find_place(error)}"
        ) from error


def find_problem_in_messages(messages: object, nodes: Collection[int]) -> str | None:
    """Return what is wrong with what a strategy's `configure_train` returned; None if nothing is.

    Args:
        messages: should be an iterable of messages, each with one config, for different nodes.
        nodes: the ids of the nodes that may be asked.
    """
    if not isinstance(messages, list | tuple):
        return f"an object of type {type(messages).__name__}, expected a list of messages"
    asked: set[int] = set()
    for message in messages:
        if not isinstance(message, Message):
            return f"an object of type {type(message).__name__} in its list, expected a Message"
        if len(message.content.config_records) != 1:
            return f"a message with {len(message.content.config_records)} configs, expected one"
        node = message.metadata.dst_node_id
        if node not in nodes:
            return f"a message for node {node}, expected one of {', '.join(map(str, sorted(nodes)))}"
        if node in asked:
            return f"two messages for node {node}, expected one"
        asked.add(node)
    return None


@contextmanager
def _naming_errors(name: str, action: str) -> Iterator[None]:
    """Turn whatever a user's code raises into one line that names where it was raised."""
    try:
        yield
    except FederationError:
        raise
    # A script imported as a module may call `sys.exit`.
    except (Exception, SystemExit) as error:
        place = _find_place(error)
        reason = f"{type(error).__name__}: {printable(str(error))}{place}"
        raise SettingsError(f"STRATEGY={name}: {action} raised {reason}; {_EXPECTED}") from error


def _find_place(error: BaseException) -> str:
    """Return the last line of the traceback that is not of this module or of Python's import system."""
    place = ""
    trace: Any = error.__traceback__
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if file != __file__ and not file.startswith(("<", sys.prefix, sys.base_prefix)):
            place = f" ({file}:{trace.tb_lineno})"
        trace = trace.tb_next
    return place
