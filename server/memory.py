"""What a round needs of the server's memory, against what the server may use."""

import math
from dataclasses import dataclass, replace

from fedmx import memory
from fedmx.array_store import ArrayStore
from fedmx.errors import SettingsError
from fedmx.image import is_image
from fedmx.log import warn
from fedmx.settings import ServerSettings
from fedmx.sizes import show_megabytes, show_setting
from server import strategies
from server.averaging import SLICE
from server.custom_strategy import is_custom
from server.layout import Layout

_BASE = 165_000_000
# Bytes on their way on a node's stream, in fedmx and in gRPC.
_STREAM = 3_500_000
# A quarter: beside the updates, there are the old and the new model, and what the strategy holds.
_SHARE_OF_UPDATES = 4


@dataclass(frozen=True)
class _Need:
    """What a round holds at its peak beside the updates that wait, as multiples.

    Attributes:
        models: of the model's size, however many updates there are.
        models_per_update: of the size of its arrays that are not frozen.
        largest: of the size of the largest such array; at most two arrays are aggregated at a time.
        slices_per_update: of a slice of the largest array.
    """

    models: float = 0.0
    models_per_update: float = 0.0
    largest: float = 0.0
    slices_per_update: float = 0.0


# The old and the new model, and what averaging two arrays at a time needs beside them.
_OF_EVERY_ROUND = _Need(models=2.0, largest=2.5)
# What strategies add: momentum or moments, those of the round before included, copies of all updates, or the
# same slice of all updates.
_MOMENTS = _Need(models=4.2)
_COPIES = _Need(models_per_update=2.25)
_SLICES = _Need(slices_per_update=3.75)
_OF_STRATEGIES = {
    "fedavgm": _Need(models=2.2),
    "fedadagrad": _MOMENTS,
    "fedadam": _MOMENTS,
    "fedyogi": _MOMENTS,
    "fedmedian": _SLICES,
    "fedtrimmedavg": _SLICES,
    "krum": _COPIES,
    "multikrum": _COPIES,
    "bulyan": _Need(models_per_update=4.25),
    "qfedavg": _Need(models=6.2),
}
# A user's strategy is taken to have moments and to compute in double precision, but not to copy all updates.
_OF_CUSTOM = _Need(models=6.2)
# An update that is clipped, and noise, which is drawn for one array at a time in double precision.
_OF_PRIVACY = _Need(models=1.0, largest=6.5)


def choose_budget(settings: ServerSettings) -> int:
    """Return how many bytes of updates wait in memory (UPDATE_MEMORY)."""
    if settings.update_memory is not None:
        return settings.update_memory
    return min(limit.size for limit in _list_limits()) // _SHARE_OF_UPDATES


def open_store(settings: ServerSettings) -> ArrayStore:
    """Open the store of a server's updates."""
    return ArrayStore(choose_budget(settings), settings.runs_dir)


def _list_limits() -> list[memory.Limit]:
    limit = memory.find_limit()
    return [memory.find_physical(), *([] if limit is None else [limit])]


def reject_excess(layout: Layout, nodes: int, settings: ServerSettings) -> None:
    """Check before round 1 that rounds with this many nodes fit into the limit on memory.

    Raises:
        SettingsError: they do not.
    """
    limit = memory.find_limit()
    needed = estimate(layout, strategies.count_sampled(nodes, settings), settings)
    if limit is None or needed <= limit.size:
        return
    name, size = _name(limit), show_setting(_find_least_limit(layout, nodes, settings))
    raise SettingsError(
        f"{name}={show_setting(limit.size)}: too small for {nodes} nodes, a model of"
        f" {show_megabytes(layout.size)} and STRATEGY={settings.strategy}, which need about {size}; expected"
        f" {name}={size} or more, fewer nodes or a smaller model"
    )


def warn_of_excess(layout: Layout, updates: int, settings: ServerSettings) -> None:
    """Log a WARNING if a round with this many updates needs more than the server has.

    Nodes may join after the run has begun, and a machine without a limit may have less than is needed.
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


def _find_least_limit(layout: Layout, nodes: int, settings: ServerSettings) -> int:
    """Return the smallest limit under which the run fits; the share of the updates grows with the limit."""
    updates = strategies.count_sampled(nodes, settings)
    if settings.update_memory is not None:
        return estimate(layout, updates, settings)
    rest = estimate(layout, updates, replace(settings, update_memory=0))
    all_updates = updates * layout.updated_size
    return min(rest + all_updates, math.ceil(rest * _SHARE_OF_UPDATES / (_SHARE_OF_UPDATES - 1)))


def estimate(layout: Layout, updates: int, settings: ServerSettings) -> int:
    """Return about how many bytes the server holds at most in a round."""
    needs = [_OF_EVERY_ROUND, _OF_STRATEGIES.get(settings.strategy, _Need())]
    if is_custom(settings.strategy):
        needs.append(_OF_CUSTOM)
    if settings.dp_mode != "off":
        needs.append(_OF_PRIVACY)
    size = layout.updated_size
    largest = max(map(layout.size_of, layout.updated), default=0)
    waiting = min(choose_budget(settings), updates * size)
    models = sum(need.models for need in needs) * layout.size
    copies = sum(need.models_per_update for need in needs) * updates * size
    arrays = sum(need.largest for need in needs) * largest
    slices = sum(need.slices_per_update for need in needs) * updates * min(largest, 4 * SLICE)
    streams = updates * min(size, _STREAM)
    return math.ceil(_BASE + waiting + models + copies + arrays + slices + streams)
