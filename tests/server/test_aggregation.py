"""Every strategy through the real round loop, against its paper's arithmetic written out with numpy."""

import gc
import weakref
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import ArrayRecord, Message
from flwr.serverapp.strategy import FedAvg
from numpy.typing import NDArray

from fedmx.settings import ServerSettings
from server import strategies
from server.aggregate import aggregate
from server.federation import federate
from server.record.resume import Start
from server.update import Update
from tests.fedmx.test_array_store import find_files
from tests.server.federation import Federation
from tests.server.local_grid import LocalGrid, Table
from tests.server.nodes import GOOD, Config, Metrics, NullNode, Values, shift

Vector = NDArray[np.float64]

START: Values = {
    "w": np.array([1.0, -2.0, 3.0], np.float32),
    "b": np.array([[0.5], [0.25]], np.float32),
    "scale": np.array(2.0, np.float32),
}
EXAMPLES = (10, 20, 30, 40, 50)
LOSSES = (0.5, 0.25, 1.0, 2.0, 0.125)


def pull(number: int) -> Callable[[Values, Config], tuple[Values, Metrics]]:
    """Train towards a point of the node's own: half of the way, a different one for each value."""

    def train(values: Values, _: Config) -> tuple[Values, Metrics]:
        trained = {name: halfway(value, number).astype(np.float32) for name, value in values.items()}
        return trained, {"loss": LOSSES[number], "accuracy": 0.5, "num-examples": EXAMPLES[number]}

    return train


def halfway(values: NDArray[Any], number: int) -> Vector:
    goal = (number + 1.0) ** 2 + np.arange(values.size).reshape(values.shape)
    return np.asarray((values + goal) / 2, np.float64)


def make_nodes() -> dict[str, NullNode]:
    return {f"node-{number}": NullNode(pull(number), initial=dict(START)) for number in range(len(EXAMPLES))}


def weighted_average(x: Vector) -> Vector:
    total = sum(EXAMPLES)
    return sum((n / total) * halfway(x, number) for number, n in enumerate(EXAMPLES)) + np.zeros_like(x)


def check(federation: Federation, expected: Callable[[Vector], Vector], rtol: float = 1e-5) -> None:
    for name, value in START.items():
        np.testing.assert_allclose(federation.model[name], expected(value.astype(np.float64)), rtol=rtol)


@pytest.mark.parametrize("strategy", ["fedavg", "fedprox", "fedavgm"])
def test_plain_averages_are_weighted_by_examples(federation: Federation, strategy: str) -> None:
    federation.run(make_nodes(), num_rounds=2, strategy=strategy)
    check(federation, lambda x: weighted_average(weighted_average(x)))


def test_fedavg_of_two_unequal_nodes_by_hand(federation: Federation) -> None:
    def send(value: float, examples: int) -> NullNode:
        return NullNode(
            lambda _, __: ({"w": np.array([value], np.float32)}, GOOD | {"num-examples": examples}),
            initial={"w": np.zeros(1, np.float32)},
        )

    federation.run({"a": send(1.0, 10), "b": send(5.0, 30)})
    assert federation.model["w"].tolist() == [4.0]  # (1 * 10 + 5 * 30) / 40


def test_fedavgm_keeps_its_momentum_over_the_rounds(federation: Federation) -> None:
    arguments = {"server_momentum": 0.9, "server_learning_rate": 0.5}
    federation.run(make_nodes(), num_rounds=3, strategy="fedavgm", strategy_args=arguments)

    def expected(x: Vector) -> Vector:
        velocity = np.zeros_like(x)
        for _ in range(3):  # Hsu et al. 2019, arXiv:1909.06335
            velocity = 0.9 * velocity + (x - weighted_average(x))
            x = x - 0.5 * velocity
        return x

    check(federation, expected)


def second_moment(strategy: str, v: Vector, delta: Vector) -> Vector:
    """Algorithm 2 of Reddi et al. 2020, arXiv:2003.00295."""
    square = np.square(delta)
    moments: dict[str, Vector] = {
        "fedadagrad": v + square,
        "fedyogi": v - (1 - 0.9) * square * np.sign(v - square),
        "fedadam": 0.9 * v + (1 - 0.9) * square,
    }
    return moments[strategy]


@pytest.mark.parametrize("strategy", ["fedadagrad", "fedyogi", "fedadam"])
def test_adaptive_strategies_follow_their_paper(federation: Federation, strategy: str) -> None:
    arguments = {"eta": 0.3, "tau": 0.01}
    if strategy != "fedadagrad":
        arguments |= {"beta_1": 0.8, "beta_2": 0.9}
    federation.run(make_nodes(), num_rounds=3, strategy=strategy, strategy_args=arguments)

    def expected(x: Vector) -> Vector:
        m = v = np.zeros_like(x)
        for number in (1, 2, 3):
            beta_1 = 0.0 if strategy == "fedadagrad" else 0.8  # Flower's FedAdagrad has no first moment
            delta = weighted_average(x) - x
            m = beta_1 * m + (1 - beta_1) * delta
            v = second_moment(strategy, v, delta)
            eta = 0.3
            if strategy == "fedadam":  # Flower corrects the bias as Adam does, one step ahead
                eta *= np.sqrt(1 - 0.9 ** (number + 1)) / (1 - 0.8 ** (number + 1))
            x = x + eta * m / (np.sqrt(v) + 0.01)
        return x

    check(federation, expected, rtol=1e-4)


def stacked(x: Vector) -> Vector:
    return np.stack([halfway(x, number) for number in range(len(EXAMPLES))])


def test_the_median_is_that_of_the_nodes(federation: Federation) -> None:
    federation.run(make_nodes(), strategy="fedmedian")
    check(federation, lambda x: np.asarray(np.median(stacked(x), axis=0)))


def test_the_trimmed_average_leaves_out_both_ends(federation: Federation) -> None:
    federation.run(make_nodes(), strategy="fedtrimmedavg", strategy_args={"beta": 0.2})
    check(federation, lambda x: np.asarray(np.sort(stacked(x), axis=0)[1:-1].mean(axis=0)))


def test_qfedavg_weights_nodes_by_their_loss(federation: Federation) -> None:
    federation.run(make_nodes(), strategy="qfedavg", strategy_args={"q": 0.5}, learning_rate=0.1)
    # Algorithm 2 of Li et al. 2020, arXiv:1905.10497, over all arrays together.
    lipschitz = 1 / 0.1
    start = np.concatenate([value.astype(np.float64).ravel() for value in START.values()])
    delta, h = np.zeros_like(start), 0.0
    for number, loss in enumerate(LOSSES):
        trained = np.concatenate([halfway(value, number).ravel() for value in START.values()])
        gradient = lipschitz * (start - trained)
        delta += loss**0.5 * gradient
        h += 0.5 * loss**-0.5 * float(gradient @ gradient) + lipschitz * loss**0.5
    result = np.concatenate([value.ravel() for value in federation.model.values()])
    np.testing.assert_allclose(result, start - delta / h, rtol=1e-5)


HONEST = [np.array([1.0, 1.0]), np.array([1.1, 0.9]), np.array([0.9, 1.0]), np.array([1.0, 1.2])]
LIAR = np.array([1000.0, -1000.0])


def send(values: NDArray[Any]) -> NullNode:
    return NullNode(
        lambda _, __: ({"w": values.astype(np.float32)}, GOOD), initial={"w": np.zeros(2, np.float32)}
    )


def test_krum_takes_an_honest_update_beside_a_liar(federation: Federation) -> None:
    nodes = {f"node-{i}": send(values) for i, values in enumerate([*HONEST[:2], LIAR, *HONEST[2:]])}
    federation.run(nodes, strategy="krum", strategy_args={"num_malicious_nodes": 1})
    # The sums of squared distances to the two closest: 0.03, 0.07, 0.06 and 0.09 for the honest.
    np.testing.assert_array_equal(federation.model["w"], HONEST[0].astype(np.float32))


def test_multikrum_averages_the_honest_beside_a_liar(federation: Federation) -> None:
    nodes = {f"node-{i}": send(values) for i, values in enumerate([LIAR, *HONEST])}
    arguments = {"num_malicious_nodes": 1, "num_nodes_to_select": 4}
    federation.run(nodes, strategy="multikrum", strategy_args=arguments)
    np.testing.assert_allclose(federation.model["w"], np.mean(HONEST, axis=0), rtol=1e-6)


def test_bulyan_stays_among_the_honest_beside_a_liar(federation: Federation) -> None:
    honest = [*HONEST, np.array([1.05, 1.0]), np.array([0.95, 1.1])]
    nodes = {f"node-{i}": send(values) for i, values in enumerate([LIAR, *honest])}
    federation.run(nodes, strategy="bulyan", strategy_args={"num_malicious_nodes": 1})
    assert (federation.model["w"] >= np.min(honest, axis=0) - 1e-6).all()
    assert (federation.model["w"] <= np.max(honest, axis=0) + 1e-6).all()


@pytest.mark.parametrize("strategy", strategies.NAMES)
def test_the_order_of_replies_does_not_change_a_bit(tmp_path: Path, strategy: str) -> None:
    digests = []
    for reverse in (False, True):
        nodes = dict(enumerate(make_nodes().values()))
        settings = ServerSettings(
            num_rounds=3, num_partitions=5, min_clients=5, strategy=strategy, runs_dir=tmp_path / str(reverse)
        )
        federate(LocalGrid(nodes, reverse=reverse), settings, Start("run"))
        digests.append((tmp_path / str(reverse) / "run" / "model.npz").read_bytes())
    assert digests[0] == digests[1]


class Last(FedAvg):
    """A user's own strategy, which chooses one update and returns its record itself."""

    def aggregate_train(self, server_round: int, replies: Iterable[Message]) -> tuple[ArrayRecord, None]:
        """Return the last update."""
        assert server_round
        *_, last = replies
        return last.content.array_records["arrays"], None


@pytest.mark.parametrize("budget", [0, 2**20], ids=["file", "memory"])
def test_a_strategy_may_return_the_arrays_of_an_update(federation: Federation, budget: int) -> None:
    sizes = []

    def look(_: Values, __: Config) -> Metrics:
        sizes.append(find_files(federation.runs_dir))
        return GOOD

    nodes = {"a": NullNode(shift(1.0)), "b": NullNode(shift(5.0), look)}
    federation.run(nodes, num_rounds=3, update_memory=budget, strategy=f"{__name__}:Last")
    assert np.unique(federation.model["0.weight"]).tolist() == [15.0]
    assert sizes == [[] if budget else [0]] * 3


def test_an_aggregation_that_fails_in_another_thread_keeps_no_array(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[weakref.ref[NDArray[Any]]] = []

    def overflow(_: Sequence[Update], name: str, __: Sequence[float]) -> NDArray[Any]:
        values = np.full(START[name].shape, np.inf, np.float32)
        made.append(weakref.ref(values))
        return values

    monkeypatch.setattr("server.aggregate._LARGE_BYTES", 1)
    monkeypatch.setattr("server.averaging.average", overflow)
    table = Table(list(make_nodes().values()))
    replies = table.collect("train")
    message = ""
    gc.disable()
    try:
        aggregate(table.plan, table.model, 1, replies.in_order())
    except ValueError as error:
        message = str(error)
    finally:
        gc.enable()
    assert message == "aggregation gave values that are not finite in array 'w'"
    assert [each() for each in made] == [None] * len(made)
