"""However updates are stored and in whatever order they arrive, a strategy computes the same bits."""

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedmx import arrays
from fedmx.array_store import ArrayStore
from server import privacy
from tests.server.nodes import Config, Metrics, NullNode, Table, Values, pack
from tests.server.test_strategy_bits import ARGUMENTS

# Shapes at which numpy may sum in another order, one that is larger than what is computed at a time, running
# statistics, a counter, and an array whose sign would be lost if a sum began at 0.0.
START: Values = {
    "conv.weight": (np.arange(54, dtype=np.float32).reshape(6, 1, 3, 3) % 17 - 8) / np.float32(7),
    "conv.bias": np.linspace(-1, 1, 6, dtype=np.float32),
    "norm.running_mean": np.linspace(0, 1, 6, dtype=np.float32),
    "norm.steps": np.array([7], np.int64),
    "scale": np.array([0.25], np.float32),
    "wide": (np.arange(270_001, dtype=np.float32) % 1013 - 500) / np.float32(97),
    "half": (np.arange(40, dtype=np.float32) / np.float32(3)).astype(np.float16),
    "zeros": np.full(5, -0.0, np.float32),
}
RUNNING = ("norm.running_mean", "norm.steps")
MODES: Mapping[str, Mapping[str, float]] = {
    "dp-fixed": {"clipping_norm": 2.0},
    "dp-adaptive": {"initial_clipping_norm": 2.0, "clipped_count_stddev": 10.0},
}
WEIGHTS = (3, 17, 5, 29, 11, 2, 43)

# The first 16 digits of a SHA-256 over the model and the strategy's state after three rounds. They were
# computed when every strategy was still called once, with the replies of all nodes in memory.
DIGESTS: Mapping[str, str] = {
    "fedavg": "d004cb24ffee084f",
    "fedavgm": "b497740424c4c787",
    "fedprox": "d004cb24ffee084f",
    "fedadagrad": "aea0700720e579b1",
    "fedadam": "828dd4b4f4afc778",
    "fedyogi": "0230d9630a7c9e93",
    "fedmedian": "ef3e9368c2bb5f3f",
    "fedtrimmedavg": "18ef8499099aed90",
    "krum": "8939c7af5d831a71",
    "multikrum": "68ffeb0c4023dc28",
    "bulyan": "2ddd7c8ebdaca39d",
    "qfedavg": "2b9db499d06b0904",
    "dp-fixed": "8723c08fcdf993ff",
    "dp-adaptive": "69bb77af9da83da2",
}


def pull(number: int) -> Callable[[Values, Config], tuple[Values, Metrics]]:
    """Make a node that trains towards values of its own, by operations that IEEE 754 rounds correctly."""

    def train(values: Values, _: Config) -> tuple[Values, Metrics]:
        trained = {}
        for name, value in values.items():
            goal = (np.arange(value.size, dtype=np.float32) * np.float32(number + 3)) % np.float32(13)
            goal = (goal / np.float32(9) + np.float32(number)).reshape(value.shape)
            moved = ((value + goal) * np.float32(0.51)).astype(value.dtype)
            trained[name] = value if name == "zeros" else moved
        return trained, {"loss": 1 / (number + 2), "accuracy": 0.5, "num-examples": WEIGHTS[number]}

    return train


def make_table(**settings: Any) -> Table:
    nodes = [NullNode(pull(number), initial=dict(START), running=RUNNING) for number in range(len(WEIGHTS))]
    return Table(nodes, **settings)


def compute_digest(table: Table) -> str:
    for number in range(1, 4):
        table.train_round(number)
    digest = hashlib.sha256(arrays.sha256(table.model.arrays).encode())
    state = {name: np.asarray(values) for name, values in table.plan.state().items()}
    digest.update(arrays.sha256(pack(state)).encode())
    return digest.hexdigest()[:16]


@pytest.fixture
def table_of(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, budget: int) -> Callable[[str], Table]:
    """Make tables whose updates wait in a store of this budget."""
    monkeypatch.setattr(privacy, "draw_gaussian", lambda count, stddev: np.full(count, stddev / 8))

    def make(name: str) -> Table:
        settings: dict[str, Any] = {"strategy": name, "strategy_args": ARGUMENTS.get(name, {})}
        if name in MODES:
            settings = {"strategy": "fedavg", "dp_mode": name, "dp_args": MODES[name]}
        table = make_table(**settings)
        vars(table.collector._engine)["store"] = ArrayStore(budget, tmp_path)
        return table

    return make


@pytest.mark.parametrize(
    ("budget", "is_reversed"),
    [(0, False), (3_000_000, True), (2**40, False)],
    ids=["on disk", "half on disk", "in memory"],
)
@pytest.mark.parametrize("name", DIGESTS)
def test_the_bits_depend_neither_on_where_updates_wait_nor_on_the_order_of_arrival(
    name: str, table_of: Callable[[str], Table], *, is_reversed: bool
) -> None:
    table = table_of(name)
    if is_reversed:
        pull = table.grid.pull_messages
        vars(table.grid)["pull_messages"] = lambda ids: list(reversed(list(pull(ids))))
    assert compute_digest(table) == DIGESTS[name]
