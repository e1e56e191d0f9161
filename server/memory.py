"""What a round needs of the server's memory, against what the server may use."""

import math
from dataclasses import dataclass

from fedmx import memory
from fedmx.array_store import ArrayStore
from fedmx.errors import SettingsError
from fedmx.image import is_image
from fedmx.log import warn
from fedmx.settings import ServerSettings
from fedmx.sizes import show_megabytes, show_setting
from server import strategies
from server.custom_strategy import is_custom
from server.layout import Layout

_BASE = 165_000_000


@dataclass(frozen=True)
class _Need:
    """What a round holds at its peak, as multiples.

    Attributes:
        models: of the model's size, however many updates there are.
        models_per_update: of the size of its arrays that are not frozen.
        largest: of the largest such array's, since arrays are averaged one after the other.
        largest_per_update: of the largest array's.
    """

    models: float = 0.0
    models_per_update: float = 0.0
    largest: float = 0.0
    largest_per_update: float = 0.0


_OF_EVERY_ROUND = _Need(models=3.9, models_per_update=1.5, largest=1.1)
# What strategies add: momentum and moments with what it takes to compute them, copies of all updates, or one
# array of all updates in double precision.
_MOMENTS = _Need(models=8.0)
_COPIES = _Need(models_per_update=2.25)
_STACKS = _Need(largest_per_update=3.25)
_OF_STRATEGIES = {
    "fedavgm": _Need(models=3.8),
    "fedadagrad": _MOMENTS,
    "fedadam": _MOMENTS,
    "fedyogi": _MOMENTS,
    "fedmedian": _STACKS,
    "fedtrimmedavg": _STACKS,
    "krum": _COPIES,
    "multikrum": _COPIES,
    "bulyan": _Need(models_per_update=6.75, largest_per_update=4.25),
    "qfedavg": _Need(models=3.0, models_per_update=2.0),
}
# Noise is drawn for one array at a time, in double precision.
_OF_PRIVACY = _Need(models=1.0, largest=9.5)


def choose_budget(settings: ServerSettings) -> int:
    """Return how many bytes of updates wait in memory (UPDATE_MEMORY)."""
    if settings.update_memory is not None:
        return settings.update_memory
    return min(limit.size for limit in _list_limits()) // 4


def open_store(settings: ServerSettings) -> ArrayStore:
    """Open the store of a server's updates."""
    return ArrayStore(choose_budget(settings), settings.runs_dir)


def _list_limits() -> list[memory.Limit]:
    limit = memory.find_limit()
    return [memory.find_physical(), *([] if limit is None else [limit])]


def reject_excess(layout: Layout, nodes: int, settings: ServerSettings) -> None:
    """Check before round 1 that rounds of so many nodes fit into the limit on memory.

    Raises:
        SettingsError: they do not.
    """
    limit = memory.find_limit()
    needed = estimate(layout, strategies.count_sampled(nodes, settings), settings)
    if limit is None or needed <= limit.size:
        return
    name, size = _name(limit), show_setting(needed)
    raise SettingsError(
        f"{name}={show_setting(limit.size)}: too small for {nodes} nodes, a model of"
        f" {show_megabytes(layout.size)} and STRATEGY={settings.strategy}, which need about {size}; expected"
        f" {name}={size} or more, fewer nodes or a smaller model"
    )


def warn_of_excess(layout: Layout, updates: int, settings: ServerSettings) -> None:
    """Log a WARNING where a round of so many updates needs more than the server has.

    Nodes may join after the run began; and a machine without a limit may still have less than is needed.
    """
    smallest = min(_list_limits(), key=lambda limit: limit.size)
    needed = estimate(layout, updates, settings)
    if needed > smallest.size:
        warn(
            "the round may run out of memory",
            updates=updates,
            model=show_megabytes(layout.size),
            needed=show_setting(needed),
            found=show_setting(smallest.size),
            limit=_name(smallest),
        )


def _name(limit: memory.Limit) -> str:
    """Return the setting that makes the limit; outside of a container, what the system calls it."""
    return limit.name_in_container("server") if is_image() else limit.name


def estimate(layout: Layout, updates: int, settings: ServerSettings) -> int:
    """Return about how many bytes the server holds at most in a round."""
    needs = [_OF_EVERY_ROUND, _OF_STRATEGIES.get(settings.strategy, _Need())]
    # What a user's own strategy holds is unknown: it is taken to have moments as FedAdam has.
    if is_custom(settings.strategy):
        needs.append(_MOMENTS)
    if settings.dp_mode != "off":
        needs.append(_OF_PRIVACY)
    models = sum(need.models for need in needs) * layout.size
    per_update = sum(need.models_per_update for need in needs) * layout.updated_size
    arrays = sum(need.largest + need.largest_per_update * updates for need in needs)
    largest = max(map(layout.size_of, layout.updated), default=0)
    return math.ceil(_BASE + models + per_update * updates + arrays * largest)
