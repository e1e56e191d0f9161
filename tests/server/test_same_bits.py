"""However updates are stored, and whatever order they arrive in, a strategy computes the bits it always did.

The digests were computed when every strategy was called once, with the replies of all nodes in memory.
"""

import functools
import hashlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, Message
from numpy.typing import NDArray

from fedmx import arrays
from fedmx.array_store import ArrayStore
from server import averaging, privacy, strategies
from server.update import records_of
from tests.server.local_grid import Table
from tests.server.nodes import Config, Metrics, NullNode, Values, pack

# Values that the server computes at a time, where it needs those of all updates.
SLICE = 1000
# Shapes at which numpy may sum in another order, an array that leaves one value over when it is cut, other
# dtypes, running statistics, a counter, and zeros whose sign a sum that began at 0.0 would lose.
START: Values = {
    "conv.weight": (np.arange(54, dtype=np.float32).reshape(6, 1, 3, 3) % 17 - 8) / np.float32(7),
    "conv.bias": np.linspace(-1, 1, 6, dtype=np.float32),
    "norm.running_mean": np.linspace(0, 1, 6, dtype=np.float32),
    "norm.steps": np.array([7], np.int64),
    "scale": np.array([0.25], np.float32),
    "wide": (np.arange(2 * SLICE + 1, dtype=np.float32).reshape(-1, 3) % 1013 - 500) / np.float32(97),
    "half": (np.arange(40, dtype=np.float32) / np.float32(3)).astype(np.float16),
    "codes": np.arange(12, dtype=np.int32).reshape(4, 3),
    "zeros": np.full(5, -0.0, np.float32),
    "empty": np.empty((0, 3), np.float32),
}
RUNNING = ("norm.running_mean", "norm.steps")
# Enough nodes for a trimmed average of nine values: from eight on, numpy sums them in pairs.
EXAMPLES = (3, 17, 5, 29, 11, 2, 43, 8, 31, 1, 23)

ARGUMENTS: Mapping[str, Mapping[str, Any]] = {
    "fedavgm": {"server_momentum": 0.9, "server_learning_rate": 0.7},
    "fedadagrad": {"eta": 0.3, "tau": 0.01},
    "fedadam": {"eta": 0.3, "beta_1": 0.8, "beta_2": 0.9, "tau": 0.01},
    "fedyogi": {"eta": 0.3, "beta_1": 0.8, "beta_2": 0.9, "tau": 0.01},
    "fedtrimmedavg": {"beta": 0.1},
    "krum": {"num_malicious_nodes": 1},
    "multikrum": {"num_malicious_nodes": 1, "num_nodes_to_select": 5},
    "bulyan": {"num_malicious_nodes": 1},
    "qfedavg": {"q": 0.3},
}
# Some of the updates are longer than these norms.
PRIVATE: Mapping[str, Mapping[str, Any]] = {
    "dp-fixed": {"noise_multiplier": 0.01, "clipping_norm": 500.0},
    "dp-adaptive": {"noise_multiplier": 0.01, "initial_clipping_norm": 500.0, "clipped_count_stddev": 1.0},
}

# The first 16 digits of a SHA-256 over the model and the strategy's state after three rounds.
DIGESTS: Mapping[str, str] = {
    "fedavg": "ab34f3e45805a6c4",
    "fedavgm": "7de3ecfe8a1bd87c",
    "fedprox": "ab34f3e45805a6c4",
    "fedadagrad": "39350e1c68c7298e",
    "fedadam": "de2a7be19e8bcf25",
    "fedyogi": "714d246e3b9b4b4d",
    "fedmedian": "3320dea0c72d0cbf",
    "fedtrimmedavg": "c4ecc069dadd6116",
    "krum": "b8a10893a956efc8",
    "multikrum": "d13cf50fc21ad557",
    "bulyan": "c659791c821cc347",
    "qfedavg": "e0b5c1cc2f4ad4e3",
    "dp-fixed": "09e62b73a90141f8",
    "dp-adaptive": "740ba4328a463f35",
}

Order = Callable[[list[Message]], list[Message]]
# The order of arrival, and the bytes of arrays in memory.
CASES: Mapping[str, tuple[Order, int]] = {
    "backwards, in memory": (lambda replies: replies[::-1], 2**40),
    "in another order, a part in a file": (lambda replies: replies[1::2] + replies[::2], 30_000),
}


def pull(number: int) -> Callable[[Values, Config], tuple[Values, Metrics]]:
    """Make a node that trains towards values of its own, by operations that IEEE 754 rounds correctly."""

    def move(value: NDArray[Any]) -> NDArray[Any]:
        goal = _make_goal(number, value.size).reshape(value.shape)
        return np.asarray(((value + goal) * np.float32(0.51)).astype(value.dtype))

    def train(values: Values, _: Config) -> tuple[Values, Metrics]:
        trained = {name: value if name == "zeros" else move(value) for name, value in values.items()}
        return trained, {"loss": 1 / (number + 2), "accuracy": 0.5, "num-examples": EXAMPLES[number]}

    return train


@functools.cache
def _make_goal(number: int, size: int) -> NDArray[Any]:
    goal = (np.arange(size, dtype=np.float32) * np.float32(number + 3)) % np.float32(17)
    # Updates lie far from each other, so that no strategy has to choose between equal distances.
    return goal / np.float32(9) + np.float32(number**2)


def make_table(folder: Path, order: Order, budget: int, **settings: Any) -> Table:
    """Build a run whose replies arrive in this order, as Flower's engines deliver them."""
    nodes = [NullNode(pull(number), initial=dict(START), running=RUNNING) for number in range(len(EXAMPLES))]
    table = Table(nodes, ArrayStore(budget, folder), **settings)
    pull_messages = table.grid.pull_messages

    def arrive(ids: Iterable[str]) -> list[Message]:
        replies = order(list(pull_messages(ids)))
        for reply in replies:
            for record in records_of(reply.content, ArrayRecord):
                for name, array in record.items():
                    # One of Flower's own, which is not in memory as numpy yet.
                    record[name] = Array(arrays.view(array))
        return replies

    vars(table.grid)["pull_messages"] = arrive
    return table


def compute_digest(table: Table) -> str:
    for number in range(1, 4):
        table.train_round(number)
    digest = hashlib.sha256(arrays.sha256(table.model.arrays).encode())
    state = {name: np.asarray(values) for name, values in table.plan.state().items()}
    digest.update(arrays.sha256(pack(state)).encode())
    return digest.hexdigest()[:16]


class Noise:
    """Numbers in place of noise, that depend on how many were drawn before."""

    def __init__(self) -> None:
        self.drawn = 0

    def draw(self, count: int, stddev: float) -> NDArray[np.float64]:
        numbers = np.arange(self.drawn, self.drawn + count)
        self.drawn += count
        return np.asarray((numbers * 7 % 31 - 15) / 8 * stddev)


@pytest.fixture(autouse=True)
def _small_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(averaging, "SLICE", SLICE)
    monkeypatch.setattr(averaging, "_CACHED", SLICE)
    # Some arrays are computed in other threads.
    monkeypatch.setattr("server.aggregate._LARGE_BYTES", 200)


each_case = pytest.mark.parametrize(("order", "budget"), CASES.values(), ids=CASES)


@each_case
@pytest.mark.parametrize("name", strategies.NAMES)
def test_a_strategy_computes_the_bits_that_it_always_did(
    tmp_path: Path, name: str, order: Order, budget: int
) -> None:
    table = make_table(tmp_path, order, budget, strategy=name, strategy_args=ARGUMENTS.get(name, {}))
    assert compute_digest(table) == DIGESTS[name]


@each_case
@pytest.mark.parametrize("mode", PRIVATE)
def test_with_the_same_noise_so_does_differential_privacy(
    tmp_path: Path, mode: str, order: Order, budget: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(privacy, "draw_gaussian", Noise().draw)
    table = make_table(tmp_path, order, budget, strategy="fedavg", dp_mode=mode, dp_args=PRIVATE[mode])
    assert compute_digest(table) == DIGESTS[mode]


def test_the_sign_of_zero_is_kept(tmp_path: Path) -> None:
    table = make_table(tmp_path, list, 0)
    table.train_round()
    assert np.signbit(arrays.view(table.model.arrays["zeros"])).all()
