"""Every strategy computes the same bits under numpy 1.26 and numpy 2.

The digests were computed under numpy 1.26.4 on one machine; the test asserts them under the numpy that is
installed. Whether another kind of CPU computes the same bits was not measured.
"""

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from flwr.app import Array

from fedmx import arrays
from server import privacy, strategies
from server.layout import Layout
from tests.server.local_grid import Table
from tests.server.nodes import Config, Metrics, NullNode, Values, pack

START: Values = {
    "0.weight": (np.arange(600, dtype=np.float32).reshape(20, 30) % 37 - 18) / np.float32(7),
    "0.bias": np.linspace(-1, 1, 20, dtype=np.float32),
    "1.weight": (np.arange(200, dtype=np.float32).reshape(10, 20) % 11) / np.float32(3),
    "1.bias": np.zeros(10, np.float32),
}
NODES = 8

ARGUMENTS: Mapping[str, Mapping[str, Any]] = {
    "fedavgm": {"server_momentum": 0.9, "server_learning_rate": 0.7},
    "fedadagrad": {"eta": 0.3, "tau": 0.01},
    "fedadam": {"eta": 0.3, "beta_1": 0.8, "beta_2": 0.9, "tau": 0.01},
    "fedyogi": {"eta": 0.3, "beta_1": 0.8, "beta_2": 0.9, "tau": 0.01},
    "fedtrimmedavg": {"beta": 0.3},
    "krum": {"num_malicious_nodes": 1},
    "multikrum": {"num_malicious_nodes": 1, "num_nodes_to_select": 5},
    "bulyan": {"num_malicious_nodes": 1},
    "qfedavg": {"q": 0.3},
}

# The first 16 digits of a SHA-256 over the model and the strategy's state after four rounds.
DIGESTS: Mapping[str, str] = {
    "fedavg": "ead58b212da36e04",
    "fedavgm": "844e4a2e5b903f20",
    "fedprox": "ead58b212da36e04",
    "fedadagrad": "f3eb5bbc6bd9ff49",
    "fedadam": "cf22570a759da965",
    "fedyogi": "e451b4122ea1899e",
    "fedmedian": "bc7d3b603a4577db",
    "fedtrimmedavg": "4c1e64ab4005ce80",
    "krum": "8bd8b0df50701a38",
    "multikrum": "f157a644a895fa15",
    "bulyan": "bc3bcef8441843cd",
    "qfedavg": "c364742b54386041",
    "dp-fixed": "192041438002e3da",
    "dp-adaptive": "f69238d2a0fe3815",
}


def pull(number: int) -> Callable[[Values, Config], tuple[Values, Metrics]]:
    """Make a node that trains towards values of its own, by operations that IEEE 754 rounds correctly."""

    def train(values: Values, _: Config) -> tuple[Values, Metrics]:
        trained = {}
        for name, value in values.items():
            goal = (np.arange(value.size, dtype=np.float32) * np.float32(number + 3)) % np.float32(13)
            # Updates lie far from each other, so that no strategy has to choose between equal distances.
            goal = goal / np.float32(9) + np.float32(number**2)
            trained[name] = (value + goal.reshape(value.shape)) * np.float32(0.51)
        return trained, {"loss": 1 / (number + 2), "accuracy": 0.5, "num-examples": 10 * (number + 1)}

    return train


def compute_digest(table: Table) -> str:
    for number in range(1, 5):
        table.train_round(number)
    digest = hashlib.sha256(arrays.sha256(table.model.arrays).encode())
    state = {name: np.asarray(values) for name, values in table.plan.state().items()}
    digest.update(arrays.sha256(pack(state)).encode())
    return digest.hexdigest()[:16]


def make_table(**settings: Any) -> Table:
    return Table([NullNode(pull(number), initial=dict(START)) for number in range(NODES)], **settings)


@pytest.mark.parametrize("name", strategies.NAMES)
def test_a_strategy_computes_the_bits_that_it_computed_under_numpy_1_26(name: str) -> None:
    table = make_table(strategy=name, strategy_args=ARGUMENTS.get(name, {}))
    assert compute_digest(table) == DIGESTS[name]


@pytest.mark.parametrize(
    ("mode", "arguments"),
    [
        ("dp-fixed", {"clipping_norm": 2.0}),
        ("dp-adaptive", {"initial_clipping_norm": 2.0, "clipped_count_stddev": 10.0}),
    ],
)
def test_without_its_noise_differential_privacy_does_too(
    mode: str, arguments: Mapping[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(privacy, "draw_gaussian", lambda count, stddev: np.full(count, stddev / 8))
    table = make_table(strategy="fedavg", dp_mode=mode, dp_args=arguments)
    assert compute_digest(table) == DIGESTS[mode]


@pytest.mark.parametrize("name", strategies.NAMES)
def test_float32_arrays_are_aggregated_in_the_same_dtype_under_every_numpy(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: set[str] = set()
    finish = Layout.finish

    def watch(layout: Layout, name: str, array: Array) -> Array:
        seen.add(array.dtype)
        return finish(layout, name, array)

    monkeypatch.setattr(Layout, "finish", watch)
    make_table(strategy=name, strategy_args=ARGUMENTS.get(name, {})).train_round()
    assert seen == {"float64" if name in ("bulyan", "qfedavg") else "float32"}
