"""The rehearsal of a round: what it accepts, what it warns of, and that nothing remains of it."""

import random
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from client import model
from client.data import Dataset, make_dataset
from client.device import Devices
from client.mx import gluon, mx
from client.shares import DataShare
from client.task import Task, load_task
from client.trainer import Trainer
from fedmx import arrays
from fedmx.hyperparameters import Hyperparameters
from fedmx.values import PartitionRule
from tests.client.given.rehearsals import Start
from tests.client.given.small import CPU, inputs_of

ALL = DataShare(PartitionRule("none"), None, 1, 0)
HOW = Hyperparameters(local_epochs=2, batch_size=5, learning_rate=0.1, momentum=0.9, proximal_mu=0.1)


# What is allowed

UNUSED = """
def build_model():
    net = Net()
    net.other = gluon.nn.Dense(2, in_units=3, bias_initializer="ones")
    return net
"""
# Used in every second batch.
SOMETIMES = """
def forward(self, x):
    self.forwards += 1
    return self.head(x) + (self.other(x) if self.forwards % 2 else 0)

def build_model():
    net = Plain()
    net.other = gluon.nn.Dense(2, in_units=3, bias_initializer="ones")
    return net
Plain.forward = forward
"""


@pytest.mark.parametrize(("source", "is_kept"), [(UNUSED, True), (SOMETIMES, False)])
def test_parameters_that_no_loss_depends_on_keep_their_values(
    start: Start, source: str, caplog: pytest.LogCaptureFixture, *, is_kept: bool
) -> None:
    trainer = start(source)
    assert caplog.text.count("other.weight, other.bias") == is_kept
    assert "no parameter is trained" not in caplog.text
    trainer.load_partition(ALL)
    initial = trainer.initial_arrays(1)
    current = initial
    for number in (1, 2, 3):
        current, _ = trainer.train(current, HOW, 1, [0, number, 0])
        trainer.evaluate(current, replace(HOW, batch_size=3), 1, [0, 1, 0])
    for name in ("other.weight", "other.bias"):
        assert (current[name].data == initial[name].data) == is_kept
    assert current["head.weight"].data != initial["head.weight"].data


@pytest.mark.parametrize("loss", ["outputs.sum(axis=1) * 0", "nd.BlockGrad(outputs).sum(axis=1)"])
def test_a_loss_with_gradients_of_zero_is_warned_of_once(
    start: Start, caplog: pytest.LogCaptureFixture, loss: str
) -> None:
    start(f"\ndef loss():\n    return lambda outputs, labels: {loss}\n")
    assert caplog.text.count("no parameter is trained") == 1


@pytest.mark.parametrize("loss", ["outputs.sum(axis=1) / 0", "outputs.sum(axis=1) * np.inf"])
def test_a_loss_that_is_not_finite_is_accepted(start: Start, loss: str) -> None:
    start(f"\ndef loss():\n    return lambda outputs, labels: {loss}\n")


def test_the_examples_come_from_all_parts_of_a_sorted_set(start: Start) -> None:
    start("""
def loss():
    def compute(outputs, labels):
        seen.update(labels.asnumpy().tolist())
        return gluon.loss.SoftmaxCrossEntropyLoss()(outputs, labels)
    return compute
seen = set()
""")
    assert sys.modules["their_task"].seen == {0, 1}


# No trace remains


def test_arrays_and_generators_are_those_of_an_initialized_network(start: Start) -> None:
    def draw() -> list[Any]:
        drawn = [random.random(), np.random.uniform()]  # noqa: NPY002, S311 - the global generators
        return [*drawn, mx.nd.random.uniform().asscalar()]

    drawing = """
import random

def forward(self, x):
    if autograd.is_training():
        x = x * (random.random() + np.random.uniform() + nd.random.uniform().asscalar())
    return self.head(x)
Plain.forward = forward

def build_model():
    head = gluon.nn.HybridSequential()
    head.add(gluon.nn.Dense(4), gluon.nn.BatchNorm(), gluon.nn.Dropout(0.5), gluon.nn.Dense(2))
    return Plain(head)
"""
    random.seed(7)
    trainer = start(drawing)
    found, after = arrays.sha256(model.read(trainer._network.parameters)), draw()
    task = load_task("their_task")
    train, _ = task.load_data(Path())
    net = task.build_model()
    random.seed(7)
    model.initialize(net, 0, inputs_of(train.examples[:2]))
    assert found == arrays.sha256(model.read(model.name_parameters(net)))
    assert after == draw()


def test_it_runs_on_the_device_that_the_node_trains_on(tmp_path: Path) -> None:
    made: list[mx.Context] = []

    def measure(outputs: mx.nd.NDArray, labels: mx.nd.NDArray) -> dict[str, Any]:
        made.append(outputs.context)
        return {"ones": mx.nd.ones(len(labels))}

    def load(_: Path) -> Any:
        return make_set(), make_set()

    task = Task("by-hand", lambda: gluon.nn.Dense(2), load, gluon.loss.SoftmaxCrossEntropyLoss(), measure)
    Trainer(task, tmp_path, Devices([mx.cpu(1)]))
    assert made[0] == CPU
    assert set(made[1:]) == {mx.cpu(1)}


def make_set() -> Dataset:
    return make_dataset("set", np.eye(2, dtype=np.float32), np.arange(2))
