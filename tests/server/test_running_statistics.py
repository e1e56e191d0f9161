"""Arrays that no gradient changes: no strategy sees them, and they are averaged by examples."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
from flwr.app import ArrayRecord, Message
from flwr.serverapp import strategy as flower

from server import strategies
from tests.server.federation import Federation
from tests.server.nodes import GOOD, Config, Metrics, NullNode, Values

START: Values = {
    "gamma": np.ones(2, np.float32),
    "running_mean": np.zeros(2, np.float32),
    "running_var": np.ones(2, np.float32),
    "weight": np.full((2, 2), 0.5, np.float32),
    "batches": np.zeros(1, np.int64),
}
RUNNING = ("running_mean", "running_var", "batches")


def batch_norm_node(variance: float, examples: int) -> NullNode:
    """Make a node whose activations have this variance, and whose training sees it in a few batches."""

    def train(values: Values, _: Config) -> tuple[Values, Metrics]:
        trained = {
            "gamma": values["gamma"] * np.float32(0.9),
            "running_mean": values["running_mean"] * np.float32(0.5),
            "running_var": values["running_var"] * np.float32(0.1) + np.float32(0.9 * variance),
            "weight": values["weight"] - np.float32(0.1),
            "batches": values["batches"] + examples,
        }
        return trained, {"loss": 0.5, "accuracy": 0.5, "num-examples": examples}

    return NullNode(train, initial=dict(START), running=RUNNING)


def make_nodes() -> dict[str, NullNode]:
    # Variances that fall from 1 to almost nothing: what momentum carries below zero.
    return {f"node-{i}": batch_norm_node(1e-4 * (i + 1), 10 * (i + 1)) for i in range(5)}


@pytest.mark.parametrize(
    ("strategy", "arguments"),
    [
        ("fedavgm", {"server_momentum": 0.9}),
        ("fedadam", {}),
        ("fedadam", {"eta": 1.0}),
        ("fedyogi", {}),
        *((name, {}) for name in strategies.NAMES if name not in ("fedadam", "fedyogi")),
    ],
)
def test_the_running_variance_stays_finite_and_positive(
    federation: Federation, strategy: str, arguments: dict[str, Any]
) -> None:
    federation.run(make_nodes(), num_rounds=5, strategy=strategy, strategy_args=arguments)
    model = federation.model
    assert all(np.isfinite(value).all() for value in model.values())
    assert (model["running_var"] > 0).all()
    assert not np.array_equal(model["weight"], START["weight"])


def test_running_statistics_are_averaged_by_examples_whatever_the_strategy(federation: Federation) -> None:
    for strategy in ("fedmedian", "krum", "fedadam"):
        federation.run(make_nodes(), strategy=strategy)
        model = federation.model
        # Examples 10, 20, 30, 40, 50 of variances 1e-4 ... 5e-4: 0.1 + 0.9 * (5.5e-2 / 150)
        np.testing.assert_allclose(model["running_var"], 0.1 + 0.9 * 5.5e-2 / 150, rtol=1e-5)
        assert model["batches"].tolist() == [37]  # (100 + 400 + 900 + 1600 + 2500) / 150 = 36.7
        assert model["batches"].dtype == np.int64
        assert list(model) == list(START)


def test_no_strategy_ever_sees_them(federation: Federation, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[str]] = []
    configure, aggregate = flower.FedAvg.configure_train, flower.Krum.aggregate_train

    def watch_configure(self: Any, number: int, arrays: ArrayRecord, *rest: Any) -> Any:
        seen.append(list(arrays))
        return configure(self, number, arrays, *rest)

    def watch_aggregate(self: Any, number: int, replies: Iterable[Message]) -> Any:
        replies = list(replies)
        seen.extend(list(reply.content["arrays"]) for reply in replies)
        return aggregate(self, number, replies)

    monkeypatch.setattr(flower.FedAvg, "configure_train", watch_configure)
    monkeypatch.setattr(flower.Krum, "aggregate_train", watch_aggregate)
    federation.run(make_nodes(), strategy="krum")
    assert seen == [["gamma", "weight"]] * 6


def test_nodes_get_them_with_the_model(federation: Federation) -> None:
    got: list[list[str]] = []
    node = batch_norm_node(0.5, 10)

    def evaluate(values: Values, _: Config) -> Metrics:
        got.append(list(values))
        return GOOD

    node.evaluate = evaluate
    federation.run({"a": node})
    assert got == [list(START)]
