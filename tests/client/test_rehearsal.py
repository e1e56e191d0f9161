"""The rehearsal of a round: mistakes of a task are found before the node joins, and nothing remains of it."""

import random
import sys
from collections.abc import Callable, Iterator
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
from fedmx.errors import SettingsError
from fedmx.hyperparameters import Hyperparameters
from fedmx.values import PartitionRule
from tests.client.given.small import CPU, inputs_of

ALL = DataShare(PartitionRule("none"), None, 1, 0)
HOW = Hyperparameters(local_epochs=2, batch_size=5, learning_rate=0.1, momentum=0.9, proximal_mu=0.1)
GOOD = """
import numpy as np
from mxnet import autograd, gluon, nd

class Net(gluon.HybridBlock):
    def __init__(self):
        super().__init__()
        self.head = gluon.nn.Dense(2)

    def hybrid_forward(self, F, x):
        return self.head(x)

class Plain(gluon.Block):
    def __init__(self, head=None):
        super().__init__()
        self.head = head or gluon.nn.Dense(2)
        self.forwards = 0

def build_model():
    return Net()

def load_data(data_dir):
    examples = np.random.default_rng(0).standard_normal((20, 3)).astype("float32")
    return (examples, np.arange(20) // 10), (examples[:6], np.arange(6) % 2)
"""

Start = Callable[[str], Trainer]


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Return a function that starts a node whose task is the good source and more."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def write_and_start(source: str) -> Trainer:
        (tmp_path / "their_task.py").write_text(GOOD + source)
        return Trainer(load_task("their_task"), Path(), Devices([CPU]))

    yield write_and_start
    for name in ("their_task", "their_layers"):
        sys.modules.pop(name, None)


def message_of(start: Start, source: str) -> str:
    with pytest.raises(SettingsError) as caught:
        start(source)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith("TASK=their_task: ")
    return message


def line_of_fault(source: str) -> int:
    return next(n for n, line in enumerate((GOOD + source).splitlines(), 1) if line.endswith("# FAULT"))


# Exceptions of a round

FAULTS = {
    "AttributeError": """
Net.hybrid_forward = lambda self, F, x: self.head(x.reshape((x.shape[0], -1)))  # FAULT
""",
    "RuntimeError": """
def loss():
    def compute(outputs, labels):
        if autograd.is_recording():
            raise RuntimeError("it is recorded")  # FAULT
        return gluon.loss.SoftmaxCrossEntropyLoss()(outputs, labels)
    return compute
""",
    "KeyError": """
def forward(self, x):
    if autograd.is_training():
        raise KeyError("it is trained")  # FAULT
    return self.head(x)
Plain.forward, build_model = forward, Plain
""",
    "NotImplementedError": """
def forward(self, x):
    self.forwards += 1
    if self.forwards > 9:
        raise NotImplementedError("a second round")  # FAULT
    return self.head(x)
Plain.forward, build_model = forward, Plain
""",
    "ValueError": """
def metrics(outputs, labels):
    if labels.shape[1:]:
        raise ValueError("labels of the test set")  # FAULT
    return {}

def loss():
    return lambda outputs, labels: outputs.sum(axis=1)

load = load_data
def load_data(data_dir):
    train, (examples, labels) = load(data_dir)
    return train, (examples, labels[:, None])
""",
}


@pytest.mark.parametrize("kind", FAULTS)
def test_an_exception_of_a_round_is_named_with_type_and_line(start: Start, kind: str) -> None:
    message = message_of(start, FAULTS[kind])
    assert f" raised {kind}: " in message
    assert message.endswith(f" (their_task.py:{line_of_fault(FAULTS[kind])})")


def test_an_exception_in_another_module_of_the_author_is_named_with_its_line(
    start: Start, tmp_path: Path
) -> None:
    (tmp_path / "their_layers.py").write_text("def forward(self, x):\n    return x.shape[7]\n")
    source = "\nimport their_layers\nPlain.forward, build_model = their_layers.forward, Plain\n"
    assert message_of(start, source).endswith(" (their_layers.py:2)")


def test_an_exception_of_mxnets_background_threads_is_named_with_the_line_of_build_model(
    start: Start,
) -> None:
    source = """
class Function(autograd.Function):
    def forward(self, x):
        return x * 1

    def backward(self, gradient):
        return gradient * (1 / 0)

def build_model():  # FAULT
    return Plain()

Plain.forward = lambda self, x: Function()(self.head(x))
"""
    message = message_of(start, source)
    assert " raised MXNetError: " in message
    assert message.endswith(f" (their_task.py:{line_of_fault(source)})")


def test_an_exception_without_a_line_of_the_task_is_not_blamed_on_the_network(start: Start) -> None:
    # The partial calls numpy directly, so that no frame is the task's.
    message = message_of(start, "\nimport functools, operator\nload_data = operator.itemgetter(0)\n")
    assert message.endswith(" (their_task.py)")


# Networks that can be neither trained nor sent

FROZEN = """
def build_model():
    net = Net()
    net.collect_params().setattr("grad_req", "null")
    return net
"""


@pytest.mark.parametrize(
    ("source", "count"),
    [
        (FROZEN, 2),
        ("build_model = lambda: gluon.nn.Activation('relu')", 0),
    ],
)
def test_a_network_with_nothing_to_train_is_refused(start: Start, source: str, count: int) -> None:
    assert f"the network has {count} parameters, none of which is trained" in message_of(
        start, f"\n{source}\n"
    )


def test_a_parameter_without_a_structural_name_is_refused_by_name(start: Start) -> None:
    source = """
def build_model():
    net = Net()
    net.hidden = [net.params.get("scale", shape=(1,), init="zeros")]
    return net
"""
    message = message_of(start, source)
    assert "_scale are not attributes of a block; expected self.<name> = self.params.get(...)" in message


def test_a_layer_that_no_batch_reaches_is_refused_by_name_if_its_shape_is_open(start: Start) -> None:
    source = """
def build_model():
    net = Net()
    net.other = gluon.nn.Dense(2)
    return net
"""
    message = message_of(start, source)
    assert "other.weight" in message
    assert "head.weight" not in message


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


@pytest.mark.parametrize(("size", "place"), [(1, "loss"), (3, "loss"), (1, "metrics()"), (3, "metrics()")])
def test_what_fails_for_batches_of_another_size_is_found(start: Start, size: int, place: str) -> None:
    source = f"""
def check(outputs):
    if len(outputs) == {size}:
        raise ValueError("a batch of this size")  # FAULT

def loss():
    softmax = gluon.loss.SoftmaxCrossEntropyLoss()
    return lambda outputs, labels: ({place == "loss"} and check(outputs)) or softmax(outputs, labels)

def metrics(outputs, labels):
    {place == "metrics()"} and check(outputs)
    return {{}}
"""
    message = message_of(start, source)
    assert f"{place} raised ValueError: a batch of this size" in message
    assert message.endswith(f" (their_task.py:{line_of_fault(source)})")


@pytest.mark.parametrize("condition", ["len(labels) == 3", "labels[0] == 1"])
def test_metrics_whose_names_depend_on_the_batch_are_refused_by_name(start: Start, condition: str) -> None:
    source = f"""
def metrics(outputs, labels):
    return {{"a": labels, "b": labels}} if {condition} else {{"a": labels}}
"""
    assert "metrics() returned b for some batches only" in message_of(start, source)


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
