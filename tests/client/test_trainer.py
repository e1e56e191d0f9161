"""What a node holds between messages, what it does not, and how it describes itself."""

import gc
import json
import weakref
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord

from client.batches import DeviceData
from client.data import Dataset, make_dataset
from client.device import Devices
from client.mx import gluon, mx
from client.partition import split_indices, split_test_indices
from client.shares import DataShare
from client.task import Task, accuracy
from client.trainer import Trainer
from fedmx import arrays
from fedmx.errors import FederationError, SettingsError
from fedmx.settings import ClientSettings
from tests.client.given import clusters
from tests.client.given.small import CPU, make_mlp
from tests.client.given.trainers import HOW, IID, Source, make, share


def test_data_is_loaded_for_the_first_share_and_for_the_second_which_stays_for_more() -> None:
    source = Source()
    trainer = make(source)
    counts = []
    for loaded in (share(), share(), share(1), share(1), share(0), share(1)):
        trainer.load_partition(loaded)
        counts.append(len(source.loaded))
    assert counts == [1, 1, 2, 2, 2, 2]


@pytest.mark.parametrize("loaded", [share(), share(None)])
def test_the_whole_dataset_is_freed_once_a_share_is_on_the_device(loaded: DataShare) -> None:
    source = Source()
    trainer = make(source)
    assert source.loaded[0]() is not None
    trainer.load_partition(loaded)
    gc.collect()
    assert source.loaded[0]() is None


def test_a_share_is_freed_before_another_is_loaded() -> None:
    held: list[weakref.ref[DeviceData]] = []
    still_there: list[bool] = []

    class Watching(Source):
        def load(self, data_dir: Path) -> tuple[Dataset, Dataset]:
            still_there.extend(data() is not None for data in held)
            return super().load(data_dir)

    trainer = make(Watching())
    trainer.load_partition(share(0))
    held.extend(weakref.ref(data) for data in trainer._data)
    trainer.load_partition(share(1))
    assert still_there == [False, False]


@pytest.mark.parametrize("partition", [0, 1, 2])
def test_a_share_has_the_examples_that_the_rule_chooses(partition: int) -> None:
    trainer = make()
    trainer.load_partition(share(partition, 3, seed=8))
    (examples, labels), (test_examples, test_labels) = clusters.draw(230, 1), clusters.draw(50, 2)
    chosen = split_indices(labels, IID, 3, 8)[partition]
    tested = split_test_indices(50, 3, 8)[partition]
    train, test = trainer._data
    assert (train.inputs[0].asnumpy() == examples[chosen]).all()
    assert (train.labels.asnumpy() == labels[chosen]).all()
    assert (test.inputs[0].asnumpy() == test_examples[tested]).all()
    assert (test.labels.asnumpy() == test_labels[tested]).all()


def test_a_node_still_works_after_a_share_that_cannot_be_divided() -> None:
    trainer = make()
    initial = trainer.initial_arrays(0)
    trainer.load_partition(share())
    expected = trainer.evaluate(initial, HOW, 1, [0, 1, 0])
    with pytest.raises(Exception, match="expected an index below the number of partitions"):
        trainer.load_partition(share(2, 2))
    trainer.load_partition(share())
    assert trainer.evaluate(initial, HOW, 1, [0, 1, 0]) == expected


def test_the_graph_of_the_network_is_built_once_for_all_messages() -> None:
    trainer = make()
    trainer.load_partition(share())
    initial = trainer.initial_arrays(0)
    trainer.train(initial, HOW, 1, [0, 1, 0])
    graph = trainer._network.net._cached_op
    assert graph is not None
    for number in (2, 3):
        trainer.train(initial, HOW, 1, [0, number, 0])
        trainer.evaluate(initial, replace(HOW, batch_size=7), 1, [0, 1, 0])
    assert trainer._network.net._cached_op is graph


def test_initial_arrays_depend_on_the_seed_not_on_earlier_training() -> None:
    trainer = make()
    trainer.load_partition(share())
    initial = trainer.initial_arrays(3)
    digest = arrays.sha256(initial)
    trainer.train(initial, HOW, 1, [0, 1, 0])
    assert arrays.sha256(trainer.initial_arrays(3)) == digest
    assert arrays.sha256(make().initial_arrays(3)) == digest
    assert arrays.sha256(trainer.initial_arrays(4)) != digest


def test_nodes_agree_on_arrays_that_a_task_draws_after_different_draws_of_their_data() -> None:
    def build_drawn() -> gluon.Block:
        net = gluon.nn.Dense(4, in_units=8)
        # This initializer draws with numpy.
        net.initialize(mx.init.Orthogonal())
        return net

    digests = []
    for draws in (1, 5):

        def load(folder: Path, draws: int = draws) -> tuple[Dataset, Dataset]:
            mx.nd.random.uniform(shape=(draws,)).wait_to_read()
            np.random.uniform(size=draws)  # noqa: NPY002
            return Source().load(folder)

        trainer = make(build_model=build_drawn, load_data=load)
        trainer.load_partition(share())
        initial = trainer.initial_arrays(3)
        trainer.train(initial, HOW, 1, [0, 1, 0])
        digests += [arrays.sha256(initial), arrays.sha256(trainer.initial_arrays(4))]
    assert len(set(digests)) == 1


def test_training_returns_every_array_and_running_statistics_change() -> None:
    trainer = make()
    trainer.load_partition(share())
    initial = trainer.initial_arrays(0)
    updated, metrics = trainer.train(initial, HOW, 1, [0, 1, 0])
    assert list(updated) == list(initial)
    moved = {name for name in initial if (initial[name].numpy() != updated[name].numpy()).any()}
    assert {"0.weight", "1.running_mean", "1.running_var", "3.weight", "3.bias"} <= moved
    assert metrics["num-examples"] == 115


def test_the_arrays_of_the_message_are_evaluated_not_those_of_the_last_training() -> None:
    trainer = make()
    trainer.load_partition(share())
    zeros = ArrayRecord({k: Array(np.zeros_like(a.numpy())) for k, a in trainer.initial_arrays(0).items()})
    trainer.train(trainer.initial_arrays(0), HOW, 1, [0, 1, 0])
    # With four scores of zero, the probability of each class is a quarter.
    assert trainer.evaluate(zeros, HOW, 1, [0, 1, 0])["loss"] == pytest.approx(np.log(4), abs=1e-5)


def test_the_description_has_what_nodes_must_agree_on() -> None:
    described = make().description()
    assert described["task"] == "clusters"
    assert described["metrics"] == ["accuracy", "loss"]
    names = [json.loads(line)[0] for line in cast(list[str], described["arrays"])]
    assert names[2:6] == ["1.gamma", "1.beta", "1.running_mean", "1.running_var"]
    assert (described["train-examples"], described["test-examples"]) == (230, 50)


def test_two_networks_of_one_process_have_the_same_description() -> None:
    assert make().description() == make().description()


def test_metrics_with_a_name_that_is_always_measured_are_refused_at_the_start() -> None:
    with pytest.raises(SettingsError) as caught:
        make(metrics=lambda _, labels: {"loss": labels})
    assert str(caught.value) == (
        "TASK=clusters: metrics() returned 'loss', which is always measured; expected other names"
    )


def with_first(value: float, label: int) -> Any:
    """Return a load_data() whose first training example has this value and label."""

    def load(_: Path) -> tuple[Dataset, Dataset]:
        examples, labels = clusters.draw(230, 1)
        examples[0, 0], labels[0] = value, label
        test = make_dataset("test set", *clusters.draw(50, 2))
        return make_dataset("training set", examples, labels), test

    return load


@pytest.mark.parametrize(
    ("changes", "message"),
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
def test_a_mistake_in_a_task_is_reported_at_the_start(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(FederationError, match=f"^TASK=clusters: {message}") as caught:
        make(**changes)
    assert caught.value.exit_code == 2


def test_examples_for_which_an_embedding_has_no_row_are_named_at_the_start() -> None:
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
    trainer.load_partition(share(None))
    _, metrics = trainer.train(trainer.initial_arrays(0), HOW, 1, [0, 1, 0])
    assert metrics["num-examples"] == 1


def test_task_data_and_device_come_from_the_settings() -> None:
    trainer = Trainer.from_settings(ClientSettings(task="tests.client.given.clusters", device="cpu"))
    assert trainer.description()["task"] == "tests.client.given.clusters"
    trainer.load_partition(share())
    assert all(data.labels.context == CPU for data in trainer._data)


def test_a_partition_chooses_among_several_devices_for_the_data_and_the_network() -> None:
    trainer, alone = make(devices=Devices([mx.cpu(1), mx.cpu(2)])), make()
    assert not trainer.devices
    initial = alone.initial_arrays(0)
    for number, expected in ((1, mx.cpu(2)), (2, mx.cpu(1)), (0, mx.cpu(1)), (1, mx.cpu(2))):
        loaded = share(number, 3)
        trainer.load_partition(loaded)
        alone.load_partition(loaded)
        assert arrays.sha256(trainer.initial_arrays(0)) == arrays.sha256(initial)
        updated, metrics = trainer.train(initial, HOW, 1, [0, 1, number])
        assert trainer.devices == (expected,)
        assert {data.labels.context for data in trainer._data} == {expected}
        assert {p.data().context for p in trainer._network.parameters.values()} == {expected}
        same, same_metrics = alone.train(initial, HOW, 1, [0, 1, number])
        assert (arrays.sha256(updated), metrics) == (arrays.sha256(same), same_metrics)
        assert trainer.evaluate(updated, HOW, 1, [0, 1, 0]) == alone.evaluate(updated, HOW, 1, [0, 1, 0])


def test_arrays_that_a_task_creates_are_on_the_device() -> None:
    made: list[mx.Context] = []

    def measure(outputs: mx.nd.NDArray, labels: mx.nd.NDArray) -> dict[str, mx.nd.NDArray]:
        ones = mx.nd.ones(len(labels))
        made.append(ones.context)
        return {"ones": ones}

    trainer = make(devices=Devices([mx.cpu(1)]), metrics=measure)
    trainer.load_partition(share())
    made.clear()
    initial = trainer.initial_arrays(0)
    _, metrics = trainer.train(initial, HOW, 1, [0, 1, 0])
    assert metrics["ones"] == trainer.evaluate(initial, HOW, 1, [0, 1, 0])["ones"] == 1
    assert set(made) == {mx.cpu(1)}
    assert mx.current_context() == CPU
