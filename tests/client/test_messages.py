"""The ClientApp through Flower's messages: what it replies, and the error of a wrong config."""

import json
from collections.abc import Callable
from typing import Any, cast

import numpy as np
import pytest
from flwr.app import ArrayRecord

from client import messages
from client.settings import load_settings
from client.trainer import Trainer
from fedmx import arrays
from fedmx.errors import DataError, FederationError, SettingsError
from fedmx.hyperparameters import Hyperparameters
from tests.client.given import clusters, regression
from tests.client.given.node import SHARE, Value, ask, evaluate, query, train

Use = Callable[[str], None]
OWN: dict[str, Value] = {"partition-rule": "none", "seed": 0, "node": "berlin"}


@pytest.fixture(autouse=True)
def use(monkeypatch: pytest.MonkeyPatch) -> Use:
    """Return a function that starts a node with another task; at first it is the one of clusters."""

    def start(task: str) -> None:
        monkeypatch.setenv("TASK", f"tests.client.given.{task}")
        monkeypatch.setenv("DEVICE", "cpu")
        load_settings.cache_clear()
        messages.build_trainer.cache_clear()

    start("clusters")
    return start


def share(partition: int, number: int, rule: str = "iid") -> dict[str, Value]:
    return SHARE | {"partition": partition, "num-partitions": number, "partition-rule": rule}


def error_of(kind: type[FederationError], run: Callable[[], object]) -> str:
    with pytest.raises(kind) as caught:
        run()
    return str(caught.value)


# Query


def test_a_query_describes_the_node_and_names_its_initial_arrays() -> None:
    description, initial = query()
    assert description["task"] == "tests.client.given.clusters"
    layout = [json.loads(line) for line in cast(list[str], description["arrays"])]
    assert layout == [["weight", "float32", [4, 8], "trained"], ["bias", "float32", [4], "trained"]]
    assert description["metrics"] == ["accuracy", "loss"]
    assert (description["train-examples"], description["test-examples"]) == (230, 50)
    assert len(str(description["labels-sha256"])) == 64
    assert list(initial) == ["weight", "bias"]
    assert description["initial-sha256"] == arrays.sha256(initial)


def test_arrays_are_sent_only_when_asked_for() -> None:
    description, initial = query(with_arrays=False)
    assert not initial
    assert description == query()[0]


def test_two_nodes_name_the_same_arrays_for_a_seed_and_others_for_another(use: Use) -> None:
    first, _ = query()
    use("clusters")
    description, initial = query(share(1, 2))
    assert description == first
    train(initial, share(1, 2))
    assert query()[0] == first
    assert query(SHARE | {"seed": 1})[0]["initial-sha256"] != first["initial-sha256"]


# Train and evaluate


def test_a_node_trains_on_its_partition_and_replies_with_arrays_metrics_and_count() -> None:
    _, initial = query()
    updated, metrics = train(initial)
    assert list(updated) == ["weight", "bias"]
    assert sorted(metrics) == ["accuracy", "loss", "num-examples"]
    assert metrics["num-examples"] == 115
    before, after = evaluate(initial), evaluate(updated)
    assert before["num-examples"] == after["num-examples"] == 25
    assert after["accuracy"] > before["accuracy"]
    assert after["loss"] < before["loss"]


def test_the_same_message_gives_the_same_reply_and_another_round_another() -> None:
    _, initial = query()
    first, first_metrics = train(initial)
    other, _ = train(initial, SHARE | {"server-round": 2})
    again, again_metrics = train(initial)
    assert arrays.sha256(again) == arrays.sha256(first) != arrays.sha256(other)
    assert again_metrics == first_metrics


@pytest.fixture
def seeds(monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """Collect the seeds of trainings, in whose place the arrays are returned as they came."""
    found: list[list[int]] = []

    def note(
        _: Trainer, record: ArrayRecord, hyperparameters: Hyperparameters, number: int, seed: list[int]
    ) -> Any:
        assert number == seed[1]
        assert hyperparameters == Hyperparameters(2, 20, learning_rate=0.1, momentum=0.9, proximal_mu=0.0)
        found.append(seed)
        return record, {}

    monkeypatch.setattr(Trainer, "train", note)
    return found


def test_shuffles_depend_on_seed_round_and_partition(seeds: list[list[int]]) -> None:
    _, initial = query()
    train(initial, share(1, 3) | {"seed": 5, "server-round": 4})
    train(initial, share(0, 3) | {"seed": 6, "server-round": 2})
    assert seeds == [[5, 4, 1], [6, 2, 0]]


def test_shuffles_of_sites_with_their_own_data_depend_on_the_nodes_name(seeds: list[list[int]]) -> None:
    _, initial = query()
    for name in ("berlin", "paris", "berlin"):
        train(initial, OWN | {"node": name, "seed": 5, "server-round": 6})
    berlin, paris, again = seeds
    # The first eight bytes of `printf berlin | sha256sum`.
    assert berlin == again == [5, 6, 0xFB38A93FD89E1A5F]
    assert paris[:2] == [5, 6]
    assert paris[2] != berlin[2]


def test_an_integer_is_accepted_as_a_float() -> None:
    _, initial = query()
    updated, _ = train(initial, SHARE | {"learning-rate": 1, "momentum": 0, "proximal-mu": 0})
    assert arrays.sha256(updated) == arrays.sha256(
        train(initial, SHARE | {"learning-rate": 1.0, "momentum": 0.0})[0]
    )


@pytest.mark.parametrize("number", [1, 3, 7])
def test_the_weighted_accuracy_of_all_partitions_is_that_of_the_whole_test_set(number: int) -> None:
    _, initial = query()
    updated, _ = train(initial)
    parts = [evaluate(updated, share(index, number)) for index in range(number)]
    weight, bias = updated["weight"].numpy(), updated["bias"].numpy()
    examples, labels = clusters.draw(50, 2)
    hits = int(((examples @ weight.T + bias).argmax(axis=1) == labels).sum())
    assert 0 < hits < 50
    counts = [metrics["accuracy"] * metrics["num-examples"] for metrics in parts]
    assert sum(round(count) for count in counts) == hits
    assert sum(counts) / 50 == pytest.approx(hits / 50, abs=1e-12)
    assert sum(metrics["num-examples"] for metrics in parts) == 50


def test_another_partition_is_another_set_of_examples() -> None:
    _, initial = query()
    counts = [train(initial, share(index, 3))[1]["num-examples"] for index in range(3)]
    assert sorted(counts) == [76, 77, 77]
    digests = [arrays.sha256(train(initial, share(index, 2) | {"server-round": 1})[0]) for index in (0, 1, 0)]
    assert digests[0] == digests[2] != digests[1]


def test_a_site_with_its_own_data_trains_on_all_of_it() -> None:
    _, initial = query(OWN)
    assert train(initial, OWN)[1]["num-examples"] == 230
    assert evaluate(initial, OWN)["num-examples"] == 50


# Tasks


def test_metrics_of_numpys_kinds_are_sent(use: Use) -> None:
    use("numpy_metrics")
    description, initial = query()
    names = ["mxnet-rows", "numpy-rows", "numpy-scalar"]
    assert description["metrics"] == ["loss", *names]
    for metrics in (train(initial)[1], evaluate(initial)):
        first = metrics["mxnet-rows"]
        assert [metrics[name] for name in names] == [pytest.approx(first, abs=1e-6)] * 3
        assert all(type(metrics[name]) is float for name in names)


def test_a_regression_with_real_labels_and_a_loss_of_its_own_learns(use: Use) -> None:
    use("regression")
    description, current = query()
    assert description["metrics"] == ["distance", "loss"]
    for number in range(1, 6):
        current, _ = train(current, SHARE | {"server-round": number})
    np.testing.assert_allclose(current["weight"].numpy(), [[3, -1]], atol=0.02)
    np.testing.assert_allclose(current["bias"].numpy(), [2], atol=0.02)
    metrics = evaluate(current, share(0, 1))
    examples, labels = regression.draw(30, 2)
    distances = np.abs(examples @ current["weight"].numpy()[0] + current["bias"].numpy() - labels)
    assert metrics["distance"] == pytest.approx(distances.mean(), abs=1e-5)
    assert metrics["loss"] == pytest.approx((distances**2).mean() / 2, abs=1e-5)


def test_a_rule_of_classes_does_not_divide_real_labels(use: Use) -> None:
    use("regression")
    assert error_of(DataError, lambda: query(share(0, 2, "labels:1"))) == (
        "PARTITION=labels:1: training labels are float64 of shape (120,); expected class numbers, one whole"
        " number per example (PARTITION=iid and PARTITION=none accept any labels)"
    )


# What is wrong


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"batch-size": 0}, "batch-size=0: expected an integer of at least 1"),
        ({"batch-size": "many"}, "batch-size='many': expected int"),
        ({"batch-size": True}, "batch-size=True: expected int"),
        ({"local-epochs": 0}, "local-epochs=0: expected an integer of at least 1"),
        ({"learning-rate": float("nan")}, "learning-rate=nan: expected a number above 0"),
        ({"learning-rate": "fast"}, "learning-rate='fast': expected float"),
        ({"momentum": -0.5}, "momentum=-0.5: expected a number of at least 0 and below 1"),
        ({"proximal-mu": -1.0}, "proximal-mu=-1.0: expected a number of at least 0"),
        ({"server-round": -1}, "server-round=-1; expected at least 0"),
        ({"seed": -1}, "seed=-1; expected at least 0"),
        ({"partition": -1}, "partition=-1; expected at least 0"),
        ({"num-partitions": 0}, "num-partitions=0; expected at least 1"),
        (
            {"partition-rule": "odd"},
            "partition-rule='odd'; expected iid, dirichlet:ALPHA, labels:K, shards:K or none",
        ),
    ],
)
def test_a_wrong_value_of_the_config_is_named(change: dict[str, Value], problem: str) -> None:
    _, initial = query()
    assert (
        error_of(SettingsError, lambda: train(initial, SHARE | change))
        == f"the message's config has {problem}"
    )


@pytest.mark.parametrize(
    ("key", "kind"),
    [("partition", "int"), ("num-partitions", "int"), ("seed", "int"), ("partition-rule", "str")],
)
def test_a_missing_value_of_the_config_is_named(key: str, kind: str) -> None:
    lacking = {name: value for name, value in SHARE.items() if name != key}
    assert error_of(SettingsError, lambda: query(lacking)) == (
        f"the message's config has {key}=None; expected {kind}"
    )


def test_a_message_without_config_or_arrays_is_refused() -> None:
    assert error_of(SettingsError, lambda: ask("evaluate", {})) == (
        "the message's config has partition-rule=None; expected str"
    )
    with pytest.raises(ValueError, match="arrays missing: bias, weight; expected exactly the model's 2"):
        train(ArrayRecord())


def test_more_partitions_than_examples_are_refused() -> None:
    assert error_of(DataError, lambda: query(share(0, 231))) == (
        "NUM_PARTITIONS=231: only 230 training examples; expected at most 230 partitions"
    )
    assert error_of(DataError, lambda: query(share(0, 51))) == (
        "NUM_PARTITIONS=51: only 50 test examples; expected at most 50 partitions"
    )
    # The node can still work.
    _, initial = query(share(49, 50))
    assert evaluate(initial, share(49, 50))["num-examples"] == 1


def test_a_partition_beyond_the_last_is_refused() -> None:
    assert error_of(DataError, lambda: query(share(2, 2))) == (
        "partition 2 of 2; expected an index below the number of partitions"
    )
