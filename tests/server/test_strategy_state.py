"""What strategies carry from round to round: a resumed run continues like an undisturbed one."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import ArrayRecord

from fedmx import arrays
from fedmx.settings import ServerSettings
from server import strategies
from server.aggregate import aggregate
from tests.server.local_grid import Table
from tests.server.nodes import NullNode, shift

# Arguments with which a strategy carries state, where its defaults carry none.
ARGUMENTS: Mapping[str, Mapping[str, object]] = {"fedavgm": {"server_momentum": 0.9}, "qfedavg": {"q": 0.2}}
SHIFTS = (0.1, 0.2, 0.6, 0.25, 0.7)

each_strategy = pytest.mark.parametrize("name", strategies.NAMES)


def make_table(name: str, **settings: Any) -> Table:
    nodes = [NullNode(shift(by)) for by in SHIFTS]
    return Table(nodes, **{"strategy": name, "strategy_args": ARGUMENTS.get(name, {}), **settings})


def freeze(value: object) -> object:
    """Return a value that compares by content."""
    if isinstance(value, np.ndarray):
        return value.dtype.name, value.shape, value.tobytes()
    if isinstance(value, ArrayRecord):
        return [(key, array.data) for key, array in value.items()]
    if isinstance(value, Mapping):
        return [(key, freeze(item)) for key, item in value.items()]
    if isinstance(value, list | tuple):
        return [freeze(item) for item in value]
    return value


def list_attributes(strategy: object) -> Iterator[tuple[str, object]]:
    """List a strategy's attributes, and those of a strategy that it wraps."""
    for name, value in vars(strategy).items():
        if name == "strategy":
            yield from ((f"strategy.{inner}", item) for inner, item in list_attributes(value))
        else:
            yield name, freeze(value)


def find_changed(before: Mapping[str, object], strategy: object) -> set[str]:
    return {name for name, value in list_attributes(strategy) if before.get(name) != value}


def check_attributes(table: Table) -> None:
    """Check that what changes in aggregation is in the state, or is reset by the next configuration."""
    for number in (1, 2):
        table.train_round(number)
    replies = table.collect("train", 3)
    before = dict(list_attributes(table.strategy))
    aggregate(table.plan, table.model, 3, replies.in_order())
    changed = find_changed(before, table.strategy)
    carried = {name.partition("/")[0] for name in table.plan.state()}
    for name in changed - carried:
        # A value from elsewhere, of which configuration leaves nothing.
        vars(table.strategy)[name] = None
    table.collect("train", 4)
    left = {name for name in changed - carried if vars(table.strategy)[name] is None}
    assert left == set(), "neither in state_dict() nor reset by configure_train"


def check_resumed(make: Any, folder: Path) -> None:
    """Check that a strategy restored from a checkpoint's file trains the same model as an undisturbed one."""
    undisturbed, resumed = make(), make()
    for number in (1, 2, 3):
        undisturbed.train_round(number)
    path = folder / "state.npz"
    np.savez(path, **undisturbed.plan.state())
    with np.load(path, allow_pickle=False) as file:
        resumed.plan.restore({name: file[name] for name in undisturbed.plan.state()})
    resumed.model.arrays = undisturbed.model.arrays
    for number in (4, 5):
        for table in (undisturbed, resumed):
            table.train_round(number)
    assert arrays.sha256(resumed.model.arrays) == arrays.sha256(undisturbed.model.arrays)


@each_strategy
def test_every_attribute_that_aggregation_changes_is_in_the_state_or_reset(name: str) -> None:
    check_attributes(make_table(name))


@pytest.mark.parametrize("mode", ["dp-fixed", "dp-adaptive"])
def test_with_differential_privacy_it_is_too(mode: str) -> None:
    quiet = {"clipped_count_stddev": 10.0} if mode == "dp-adaptive" else {}
    check_attributes(make_table("fedavg", dp_mode=mode, dp_args=quiet))


@each_strategy
def test_a_resumed_strategy_trains_the_same_model_as_an_undisturbed_one(name: str, tmp_path: Path) -> None:
    check_resumed(lambda: make_table(name), tmp_path)


@pytest.mark.parametrize("name", ["fedavgm", "fedadagrad", "fedadam", "fedyogi"])
def test_strategies_with_momentum_or_moments_have_a_state(name: str) -> None:
    table = make_table(name)
    assert table.plan.state() == {}
    table.train_round()
    assert table.plan.state()


@each_strategy
def test_a_state_without_arrays_restores_a_strategy_of_before_round_1(name: str) -> None:
    table = make_table(name)
    table.train_round()
    table.plan.restore({})
    assert table.plan.state() == {}


def test_a_norm_that_is_a_setting_is_not_carried() -> None:
    settings = ServerSettings(dp_mode="dp-fixed", dp_args={"clipping_norm": 0.5})
    assert strategies.build(settings).state() == {}


def test_the_adaptive_clipping_norm_is_carried() -> None:
    settings = ServerSettings(dp_mode="dp-adaptive", num_partitions=20, min_clients=20)
    plan, again = strategies.build(settings), strategies.build(settings)
    vars(plan.strategy)["clipping_norm"] = 0.7
    again.restore(plan.state())
    assert vars(again.strategy)["clipping_norm"] == 0.7
