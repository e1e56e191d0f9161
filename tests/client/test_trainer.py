"""What stays warm between messages, what does not, and what a node says of itself."""

import gc
import json
import weakref
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord

from client.data import Dataset, make_dataset
from client.device import Devices
from client.mx import gluon, mx
from client.partition import split_indices, split_test_indices
from client.task import Task, accuracy
from client.trainer import DataShare, Trainer
from client.training import DeviceData
from fedmx import arrays
from fedmx.errors import FederationError, SettingsError
from fedmx.hyperparameters import Hyperparameters
from fedmx.settings import ClientSettings
from fedmx.values import PartitionRule
from tests.client.given import clusters
from tests.client.given.small import CPU, make_mlp

IID = PartitionRule("iid")
HOW = Hyperparameters(local_epochs=1, batch_size=10, learning_rate=0.1, momentum=0.9, proximal_mu=0.0)


class Source:
    """Gives the clusters, and remembers what it gave without keeping it."""

    def __init__(self) -> None:
        self.given: list[weakref.ref[Any]] = []

    def load(self, _: Path) -> tuple[Dataset, Dataset]:
        train = make_dataset("training set", *clusters.draw(230, 1))
        self.given.append(weakref.ref(train.examples))
        return train, make_dataset("test set", *clusters.draw(50, 2))


def build() -> gluon.HybridBlock:
    net = gluon.nn.HybridSequential()
    net.add(gluon.nn.Dense(5), gluon.nn.BatchNorm(), gluon.nn.Dropout(0.2), gluon.nn.Dense(4))
    return net


def make(source: Source | None = None, devices: Devices | None = None, **changes: Any) -> Trainer:
    parts = {
        "build_model": build,
        "load_data": (source or Source()).load,
        "loss": gluon.loss.SoftmaxCrossEntropyLoss(),
        "metrics": accuracy,
    }
    return Trainer(
        Task("clusters", **parts | changes),
        Path(),
        devices or Devices([CPU]),
    )


def part(partition: int | None = 0, number: int = 2, seed: int = 0) -> DataShare:
    return DataShare(IID, partition, number, seed)


def test_data_is_read_once_for_the_first_part_and_again_for_another() -> None:
    source = Source()
    trainer = make(source)
    counts = []
    for taken in (part(), part(), part(1), part(1), part(0)):
        trainer.load_partition(taken)
        counts.append(len(source.given))
    assert counts == [1, 1, 2, 2, 3]


@pytest.mark.parametrize("taken", [part(), part(None)])
def test_the_whole_dataset_is_let_go_once_a_part_is_on_the_device(taken: DataShare) -> None:
    source = Source()
    trainer = make(source)
    assert source.given[0]() is not None
    trainer.load_partition(taken)
    gc.collect()
    assert source.given[0]() is None


def test_a_part_is_let_go_before_another_is_read() -> None:
    held: list[weakref.ref[DeviceData]] = []
    still_there: list[bool] = []

    class Watching(Source):
        def load(self, data_dir: Path) -> tuple[Dataset, Dataset]:
            still_there.extend(data() is not None for data in held)
            return super().load(data_dir)

    trainer = make(Watching())
    trainer.load_partition(part(0))
    held.extend(weakref.ref(data) for data in trainer._data)
    trainer.load_partition(part(1))
    assert still_there == [False, False]


@pytest.mark.parametrize("partition", [0, 1, 2])
def test_a_part_holds_the_examples_that_the_rule_chooses(partition: int) -> None:
    trainer = make()
    trainer.load_partition(part(partition, 3, seed=8))
    (examples, labels), (test_examples, test_labels) = clusters.draw(230, 1), clusters.draw(50, 2)
    chosen = split_indices(labels, IID, 3, 8)[partition]
    tested = split_test_indices(50, 3, 8)[partition]
    train, test = trainer._data
    assert (train.examples.asnumpy() == examples[chosen]).all()
    assert (train.labels.asnumpy() == labels[chosen]).all()
    assert (test.examples.asnumpy() == test_examples[tested]).all()
    assert (test.labels.asnumpy() == test_labels[tested]).all()


def test_what_cannot_be_divided_leaves_the_node_able_to_work() -> None:
    trainer = make()
    initial = trainer.initial_arrays(0)
    trainer.load_partition(part())
    expected = trainer.evaluate(initial, 10)
    with pytest.raises(Exception, match="expected one below the number of partitions"):
        trainer.load_partition(part(2, 2))
    trainer.load_partition(part())
    assert trainer.evaluate(initial, 10) == expected


def test_the_networks_graph_is_made_once_for_all_messages() -> None:
    trainer = make()
    trainer.load_partition(part())
    initial = trainer.initial_arrays(0)
    trainer.train(initial, HOW, [0, 1, 0])
    graph = trainer._net._cached_op
    assert graph is not None
    for number in (2, 3):
        trainer.train(initial, HOW, [0, number, 0])
        trainer.evaluate(initial, 7)
    assert trainer._net._cached_op is graph


def test_initial_arrays_are_the_seeds_whatever_was_trained_before() -> None:
    trainer = make()
    trainer.load_partition(part())
    initial = trainer.initial_arrays(3)
    digest = arrays.sha256(initial)
    trainer.train(initial, HOW, [0, 1, 0])
    assert arrays.sha256(trainer.initial_arrays(3)) == digest
    assert arrays.sha256(make().initial_arrays(3)) == digest
    assert arrays.sha256(trainer.initial_arrays(4)) != digest


def test_nodes_agree_on_arrays_that_a_task_draws_whatever_their_data_drew() -> None:
    def build_drawn() -> gluon.Block:
        net = gluon.nn.Dense(4, in_units=8)
        net.initialize(mx.init.Orthogonal())  # it draws with numpy
        return net

    digests = []
    for draws in (1, 5):

        def load(folder: Path, draws: int = draws) -> tuple[Dataset, Dataset]:
            mx.nd.random.uniform(shape=(draws,)).wait_to_read()
            np.random.uniform(size=draws)  # noqa: NPY002 - the global generator is the subject
            return Source().load(folder)

        trainer = make(build_model=build_drawn, load_data=load)
        trainer.load_partition(part())
        initial = trainer.initial_arrays(3)
        trainer.train(initial, HOW, [0, 1, 0])
        digests += [arrays.sha256(initial), arrays.sha256(trainer.initial_arrays(4))]
    assert len(set(digests)) == 1


def test_training_sends_back_every_array_and_the_statistics_moved() -> None:
    trainer = make()
    trainer.load_partition(part())
    initial = trainer.initial_arrays(0)
    updated, metrics = trainer.train(initial, HOW, [0, 1, 0])
    assert list(updated) == list(initial)
    moved = {name for name in initial if (initial[name].numpy() != updated[name].numpy()).any()}
    assert {"0.weight", "1.running_mean", "1.running_var", "3.weight", "3.bias"} <= moved
    assert metrics["num-examples"] == 115


def test_the_arrays_of_the_message_are_measured_not_those_trained_last() -> None:
    trainer = make()
    trainer.load_partition(part())
    zeros = ArrayRecord({k: Array(np.zeros_like(a.numpy())) for k, a in trainer.initial_arrays(0).items()})
    trainer.train(trainer.initial_arrays(0), HOW, [0, 1, 0])
    # Four scores of zero: each class has a quarter.
    assert trainer.evaluate(zeros, 10)["loss"] == pytest.approx(np.log(4), abs=1e-5)


def test_a_node_describes_what_must_agree() -> None:
    described = make().description()
    assert described["task"] == "clusters"
    assert described["metrics"] == ["accuracy", "loss"]
    names = [json.loads(line)[0] for line in cast(list[str], described["arrays"])]
    assert names[2:6] == ["1.gamma", "1.beta", "1.running_mean", "1.running_var"]
    assert (described["train-examples"], described["test-examples"]) == (230, 50)


def test_two_networks_of_one_process_describe_the_same_model() -> None:
    assert make().description() == make().description()


def test_metrics_with_a_name_that_is_taken_are_refused_before_any_server_is_asked() -> None:
    with pytest.raises(SettingsError) as caught:
        make(metrics=lambda _, labels: {"loss": labels})
    assert str(caught.value) == (
        "TASK=clusters: metrics() returned 'loss', which is always measured; expected other names"
    )


def with_first(value: float, label: int) -> Any:
    """Give a source of data whose first training example has this value and label."""

    def load(_: Path) -> tuple[Dataset, Dataset]:
        examples, labels = clusters.draw(230, 1)
        examples[0, 0], labels[0] = value, label
        test = make_dataset("test set", *clusters.draw(50, 2))
        return make_dataset("training set", examples, labels), test

    return load


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"load_data": with_first(np.nan, 0)}, "training set: example 0 has nan; expected finite"),
        ({"load_data": with_first(1.0, 4)}, "training set: label 0 has class 4; expected whole"),
        (
            {"build_model": lambda: gluon.nn.Dense(4, in_units=9)},
            "the network, given examples of shape",
        ),
        ({"loss": lambda *_: int("rate")}, "the loss raised ValueError: invalid literal for int"),
        ({"metrics": lambda *_: 1 / 0}, r"metrics\(\) raised ZeroDivisionError: division by zero"),
    ],
)
def test_what_is_wrong_with_a_task_is_said_before_any_server_is_asked(
    changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(FederationError, match=f"^TASK=clusters: {words}") as caught:
        make(**changes)
    assert caught.value.exit_code == 2


def test_examples_that_an_embedding_has_no_row_for_are_named_before_any_server_is_asked() -> None:
    def build() -> gluon.HybridBlock:
        net = gluon.nn.HybridSequential()
        net.add(gluon.nn.Embedding(7, 3), gluon.nn.Dense(4))
        return net

    def load(_: Path) -> tuple[Dataset, Dataset]:
        examples, labels = np.arange(40).reshape(10, 4) % 7, np.arange(10) % 4
        examples[9, 1] = 7
        return (make_dataset("set", examples[:8], labels[:8]), make_dataset("set", examples[8:], labels[8:]))

    with pytest.raises(FederationError, match=r"^TASK=clusters: test set: example 1 has 7; .* 0 to 6"):
        make(build_model=build, load_data=load)


def test_a_dataset_of_one_example_is_enough() -> None:
    one = make_dataset("set", np.ones((1, 6)), np.array([2]))
    trainer = Trainer(
        Task("one", make_mlp, lambda _: (one, one), gluon.loss.SoftmaxCrossEntropyLoss(), accuracy),
        Path(),
        Devices([CPU]),
    )
    trainer.load_partition(part(None))
    _, metrics = trainer.train(trainer.initial_arrays(0), HOW, [0, 1, 0])
    assert metrics["num-examples"] == 1


def test_settings_name_task_data_and_device() -> None:
    trainer = Trainer.from_settings(ClientSettings(task="tests.client.given.clusters", device="cpu"))
    assert trainer.description()["task"] == "tests.client.given.clusters"
    trainer.load_partition(part())
    assert all(data.labels.context == CPU for data in trainer._data)


def test_a_partition_chooses_among_several_devices_for_the_data_and_the_network() -> None:
    trainer, alone = make(devices=Devices([mx.cpu(1), mx.cpu(2)])), make()
    assert trainer.device is None
    initial = alone.initial_arrays(0)
    for number, expected in ((1, mx.cpu(2)), (2, mx.cpu(1)), (0, mx.cpu(1)), (1, mx.cpu(2))):
        taken = part(number, 3)
        trainer.load_partition(taken)
        alone.load_partition(taken)
        assert arrays.sha256(trainer.initial_arrays(0)) == arrays.sha256(initial)
        updated, metrics = trainer.train(initial, HOW, [0, 1, number])
        assert (trainer.device, {data.labels.context for data in trainer._data}) == (expected, {expected})
        assert {p.data().context for p in trainer._parameters.values()} == {expected}
        same, same_metrics = alone.train(initial, HOW, [0, 1, number])
        assert (arrays.sha256(updated), metrics) == (arrays.sha256(same), same_metrics)
        assert trainer.evaluate(updated, 10) == alone.evaluate(updated, 10)


def test_arrays_that_a_task_makes_are_on_the_device() -> None:
    made: list[mx.Context] = []

    def measure(outputs: mx.nd.NDArray, labels: mx.nd.NDArray) -> dict[str, mx.nd.NDArray]:
        ones = mx.nd.ones(len(labels))
        made.append(ones.context)
        return {"ones": ones}

    trainer = make(devices=Devices([mx.cpu(1)]), metrics=measure)
    trainer.load_partition(part())
    made.clear()
    initial = trainer.initial_arrays(0)
    _, metrics = trainer.train(initial, HOW, [0, 1, 0])
    assert metrics["ones"] == trainer.evaluate(initial, 10)["ones"] == 1
    assert set(made) == {mx.cpu(1)}
    assert mx.current_context() == CPU
