"""A trainer with data that are read lazily, with a task's own loops, and with several devices."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from flwr.app import ArrayRecord

from client.context import Context
from client.data import make_dataset
from client.device import Devices
from client.mx import autograd, gluon, mx
from client.shares import DataShare
from fedmx import arrays
from fedmx.errors import SettingsError
from fedmx.values import PartitionRule
from tests.client.given import clusters
from tests.client.given.small import CPU
from tests.client.given.trainers import HOW, IID, Source, make, share


def make_lazy(kind: str, folder: Path) -> Source:
    """Load the clusters as memory maps or as gluon datasets."""

    class Lazy(Source):
        def load(self, data_dir: Path) -> Any:
            return tuple(
                convert(f"{name}.npy", data.examples.astype(np.float32), data.labels)
                for name, data in zip(("train", "test"), super().load(data_dir), strict=True)
            )

    def convert(name: str, examples: Any, labels: Any) -> Any:
        if kind == "dataset":
            return gluon.data.ArrayDataset(examples, labels)
        np.save(folder / name, examples)
        return make_dataset(name, np.load(folder / name, mmap_mode="r"), labels)

    return Lazy()


@pytest.mark.parametrize("kind", ["dataset", "mapped"])
@pytest.mark.parametrize("rule", [IID, PartitionRule("labels", 2)], ids=str)
def test_lazy_data_lead_to_the_same_model_and_metrics_as_arrays(
    kind: str, rule: PartitionRule, tmp_path: Path
) -> None:
    ends = []
    for trainer in (make(), make(make_lazy(kind, tmp_path))):
        trainer.load_partition(DataShare(rule, 1, 2, 0))
        updated, trained = trainer.train(trainer.initial_arrays(0), HOW, 1, [0, 1, 1])
        ends.append((arrays.sha256(updated), trained, trainer.evaluate(updated, HOW, 1, [0, 1, 1])))
    assert ends[0] == ends[1]


def test_a_batch_of_lazy_data_is_read_when_it_is_its_turn() -> None:
    reads: list[int] = []

    def note(example: Any, label: Any) -> Any:
        reads.append(int(label))
        return example, label

    def load(_: Path) -> Any:
        examples, labels = clusters.draw(230, 1)
        sets = [
            gluon.data.ArrayDataset(examples[:count], labels[:count]).transform(note) for count in (230, 50)
        ]
        return tuple(sets)

    trainer = make(load_data=load)
    trainer.load_partition(share())
    reads.clear()
    trainer.train(trainer.initial_arrays(0), replace(HOW, local_epochs=2), 1, [0, 1, 0])
    assert len(reads) == 2 * 115


@pytest.mark.parametrize("item", [3, np.zeros(3), (np.zeros(3),), {"x": 1}])
def test_items_that_are_not_inputs_and_a_label_are_rejected_by_type(item: Any) -> None:
    dataset = gluon.data.SimpleDataset([item] * 4)
    with pytest.raises(SettingsError, match=r"reading.*an item of the dataset is of type"):
        make(load_data=lambda _: (dataset, dataset))


def test_an_item_that_cannot_be_read_fails_the_training_in_one_line() -> None:
    def read(example: Any, label: Any) -> Any:
        if example[0] < -4:
            raise OSError("photo-17.png is truncated")
        return example, label

    def load(_: Path) -> Any:
        examples, labels = clusters.draw(230, 1)
        examples[100:, 0] = -9
        dataset = gluon.data.ArrayDataset(examples, labels).transform(read)
        return dataset, gluon.data.ArrayDataset(examples[:50], labels[:50])

    # Examples of the rehearsal are spread over the set: this one has three good ones and a bad one.
    with pytest.raises(SettingsError, match=r"raised OSError: photo-17\.png is truncated"):
        make(load_data=load)


def own_train(net: gluon.Block, data: gluon.data.Dataset, context: Context) -> Any:
    trainer = gluon.Trainer(net.collect_params(), "adam", {"learning_rate": context.learning_rate})
    loss = gluon.loss.SoftmaxCrossEntropyLoss()
    for _ in range(context.epochs):
        for examples, labels in gluon.data.DataLoader(data, context.batch_size, shuffle=True):
            with autograd.record():
                losses = loss(net(examples.astype("float32")), labels)
            losses.backward()
            trainer.step(len(labels))
    return {"steps": context.epochs * -(-len(data) // context.batch_size)}


def own_evaluate(net: gluon.Block, data: gluon.data.Dataset, context: Context) -> Any:
    metric = mx.metric.F1(average="micro")
    for examples, labels in gluon.data.DataLoader(data, context.batch_size):
        metric.update([labels > 1], [mx.nd.softmax(net(examples.astype("float32")))[:, 1:3]])
    return {"F1": metric.get()[1]}, 2.5


def test_own_loops_work_on_the_share_and_choose_the_names_of_their_metrics() -> None:
    trainer = make(train=own_train, evaluate=own_evaluate)
    described = trainer.description()
    assert (described["train-metrics"], described["metrics"]) == (["*"], ["*"])
    trainer.load_partition(share())
    initial = trainer.initial_arrays(0)
    updated, trained = trainer.train(initial, HOW, 1, [0, 1, 0])
    again, _ = trainer.train(initial, HOW, 1, [0, 1, 0])
    other, _ = trainer.train(initial, HOW, 1, [0, 2, 0])
    assert trained == {"steps": 12, "num-examples": 115}
    assert arrays.sha256(updated) == arrays.sha256(again) != arrays.sha256(other)
    measured = trainer.evaluate(updated, HOW, 1, [0, 1, 0])
    assert measured["num-examples"] == 2.5
    assert list(measured) == ["F1", "num-examples"]


def test_generators_are_seeded_for_every_evaluation() -> None:
    def draw(*_: Any) -> dict[str, float]:
        return {"drawn": float(mx.nd.random.uniform().asscalar()) + np.random.rand()}  # noqa: NPY002 - as tasks draw

    trainer = make(evaluate=draw)
    trainer.load_partition(share())
    initial = trainer.initial_arrays(0)
    first, again, other = (trainer.evaluate(initial, HOW, 1, seed) for seed in ([0, 1], [0, 1], [0, 2]))
    assert first == again != other


def test_own_loops_can_read_items_that_cannot_form_a_batch() -> None:
    sentences = gluon.data.SimpleDataset([[1], [2, 3], [4, 5, 6], [7]])
    lengths: list[int] = []

    def read(_: gluon.Block, data: gluon.data.Dataset, __: Context) -> dict[str, float]:
        lengths.extend(len(sentence) for sentence in data)
        return {}

    trainer = make(
        build_model=lambda: gluon.nn.Dense(1, in_units=1),
        load_data=lambda _: (sentences, sentences),
        train=read,
        evaluate=read,
    )
    trainer.load_partition(share(None))
    updated, _ = trainer.train(trainer.initial_arrays(0), HOW, 1, [0, 1, 0])
    trainer.evaluate(updated, HOW, 1, [0, 1, 0])
    assert lengths == 2 * [1, 2, 3, 1]


def test_a_task_with_its_own_train_can_use_the_built_in_evaluation() -> None:
    trainer = make(train=own_train)
    described = trainer.description()
    assert (described["train-metrics"], described["metrics"]) == (["*"], ["accuracy", "loss"])
    trainer.load_partition(share())
    updated, _ = trainer.train(
        trainer.initial_arrays(0), replace(HOW, local_epochs=9, learning_rate=0.02), 1, [0, 1, 0]
    )
    assert trainer.evaluate(updated, HOW, 1, [0, 1, 0])["accuracy"] > 0.5


def test_frozen_arrays_are_described_and_missing_in_updates() -> None:
    trainer = make(frozen=("0.*",))
    kinds = {
        name: kind for name, _, _, kind in map(json.loads, cast(list[str], trainer.description()["arrays"]))
    }
    assert {name for name, kind in kinds.items() if kind == "frozen"} == {"0.weight", "0.bias"}
    # They are drawn from the seed of a run.
    assert trainer.description()["frozen-sha256"] == ""
    trainer.load_partition(share())
    initial = trainer.initial_arrays(3)
    sent = ArrayRecord({name: array for name, array in initial.items() if kinds[name] != "frozen"})
    updated, _ = trainer.train(sent, HOW, 1, [3, 1, 0])
    assert list(updated) == list(sent)
    full, _ = trainer.train(initial, HOW, 1, [3, 1, 0])
    assert arrays.sha256(full) == arrays.sha256(updated)


def test_training_on_two_devices_is_training_on_one() -> None:
    def build_plain() -> gluon.HybridBlock:
        net = gluon.nn.HybridSequential()
        net.add(gluon.nn.Dense(5, activation="tanh"), gluon.nn.Dense(4))
        return net

    ends = []
    for devices in (Devices([CPU]), Devices([mx.cpu(1), mx.cpu(2)], is_joint=True)):
        trainer = make(devices=devices, build_model=build_plain)
        trainer.load_partition(share())
        how = replace(HOW, local_epochs=3, proximal_mu=0.1)
        updated, trained = trainer.train(trainer.initial_arrays(0), how, 1, [0, 1, 0])
        ends.append((updated, trained, trainer.evaluate(updated, how, 1, [0, 1, 0])))
    (one, trained, measured), (both, trained_on_both, measured_on_both) = ends
    for name in one:
        np.testing.assert_allclose(one[name].numpy(), both[name].numpy(), atol=1e-5)
    assert trained_on_both == pytest.approx(trained, abs=1e-5)
    assert measured_on_both == pytest.approx(measured, abs=1e-5)


def _replace_layer(net: Any, *_: Any) -> None:
    net._children["0"] = gluon.nn.Dense(5)
    net._children["0"].initialize()


def _cast(net: Any, *_: Any) -> None:
    net.cast("float64")


@pytest.mark.parametrize("change", [_replace_layer, _cast])
@pytest.mark.parametrize("part", ["train", "evaluate"])
def test_a_loop_of_the_tasks_own_that_changes_a_parameter_is_an_error(part: str, change: Any) -> None:
    trainer = make(**{part: change})
    trainer.load_partition(DataShare(IID, 0, 2, 0))
    step, initial = getattr(trainer, part), trainer.initial_arrays(0)
    expected = rf"^TASK=clusters: {part}\(\) (changed|replaced) .*'0\.weight'; expected "
    with pytest.raises(SettingsError, match=expected):
        step(initial, HOW, 1, [0, 1, 0])


def test_a_loop_of_the_tasks_own_may_cast_a_network_and_cast_it_back() -> None:
    def evaluate(net: Any, *_: Any) -> None:
        net.cast("float16")
        net.cast("float32")

    trainer = make(evaluate=evaluate)
    trainer.load_partition(DataShare(IID, 0, 2, 0))
    assert trainer.evaluate(trainer.initial_arrays(0), HOW, 1, [0, 1, 0]) == {"num-examples": 25}
