"""The user's module: what it may omit, and the error of each mistake in it."""

import os
import signal
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from client.data import Dataset
from client.mx import gluon, mx
from client.task import accuracy
from client.task_errors import task_errors
from fedmx.errors import StopSignal
from tests.client.given.sources import GOOD, TASK, Load, error_of

PAIRS = "expected (train, test), each (examples, labels) or a gluon Dataset"
ONE = "one = np.ones(2), np.ones(2)"


def load_data(returned: str) -> str:
    return f"{GOOD}\nfrom client.data import Dataset\n{ONE}\ndef load_data(data_dir): return {returned}"


# The one place where the whole wording is pinned.
MESSAGES = {
    "": f"build_model is missing; {TASK}",
    "build_model = 3": f"build_model is missing; {TASK}",
    "def build_model(): pass": f"load_data is missing; {TASK}",
    f"{GOOD}loss = 3": "loss is an object of type int; expected a function that returns a loss, or no loss",
    f"{GOOD}loss = gluon.loss.L2Loss()": (
        "loss is an object of type L2Loss; expected a function that returns a loss, or no loss"
    ),
    f"{GOOD}metrics = {{}}": "metrics is an object of type dict; expected a function or no metrics",
    f"{GOOD}def loss(): pass": (
        "loss() returned None; expected a gluon loss or a function of outputs and labels"
    ),
    f"{GOOD}def loss(): raise ValueError('first\\nsecond')": (
        "loss() raised ValueError: first (their_task.py:10)"
    ),
    f"{GOOD}def loss(): assert False": "loss() raised AssertionError: no reason given (their_task.py:10)",
    f"{GOOD}def build_model(): return spam": (
        "build_model() raised NameError: name 'spam' is not defined (their_task.py:10)"
    ),
    f"{GOOD}def build_model(): pass": "build_model() returned None; expected a gluon Block",
    f"{GOOD}def build_model(): return gluon.nn.Dense": (
        "build_model() returned an object of type type; expected a gluon Block"
    ),
    f"{GOOD}def load_data(data_dir): return {{}}['train']": (
        "load_data() raised KeyError: 'train' (their_task.py:10)"
    ),
    load_data("None"): f"load_data() returned None; {PAIRS}",
    load_data("np.ones((2, 2))"): f"load_data() returned an object of type ndarray; {PAIRS}",
    load_data("(1, 2, 3)"): f"load_data() returned an object of type tuple of 3; {PAIRS}",
    load_data("{'train': 1, 'test': 2}"): f"load_data() returned an object of type dict; {PAIRS}",
    load_data("(one, np.ones(2))"): f"load_data() returned an object of type ndarray as test set; {PAIRS}",
    load_data(
        "((1, 2, 3), one)"
    ): f"load_data() returned an object of type tuple of 3 as training set; {PAIRS}",
    load_data("one, ([1.0], np.ones(1))"): ("test set: examples are of type list; expected a numpy array"),
    load_data("one, (np.ones(3), np.ones(2))"): (
        "test set: 3 examples, but 2 labels; expected one label per example"
    ),
    load_data("one, gluon.data.SimpleDataset([])"): "test set: it is empty; expected at least one example",
    load_data("one, Dataset(np.ones(3), np.ones(2))"): (
        "test set: 3 examples, but 2 labels; expected one label per example"
    ),
}


def make_all(load: Load, source: str) -> None:
    task = load(source)
    task.build_model()
    task.load_data(Path())


# Parts that may be omitted


def test_a_task_without_loss_and_metrics_has_softmax_and_accuracy(load: Load) -> None:
    task = load(GOOD)
    assert task.name == "their_task"
    outputs, labels = mx.nd.array([[0, 0], [0, 0]]), mx.nd.array([0, 1])
    np.testing.assert_allclose(task.loss(outputs, labels).asnumpy(), np.log([2, 2]), rtol=1e-5)
    assert task.metrics(outputs + mx.nd.array([[1, 0]]), labels)["accuracy"].asnumpy().tolist() == [1, 0]
    assert isinstance(task.build_model(), gluon.HybridBlock)


def test_tuples_become_datasets(load: Load) -> None:
    train, test = load(GOOD).load_data(Path())
    assert isinstance(train, Dataset)
    assert (train.examples.shape, train.labels.tolist()) == ((4, 3), [0, 1, 2, 3])
    assert (len(train), len(test)) == (4, 2)


def test_a_gluon_dataset_is_used_as_it_is(load: Load) -> None:
    train, test = load(load_data("(gluon.data.SimpleDataset([3, 4]), one)")).load_data(Path())
    assert isinstance(train, gluon.data.SimpleDataset)
    assert list(train) == [3, 4]
    assert isinstance(test, Dataset)


def test_a_tasks_own_loss_and_metrics_are_used(load: Load) -> None:
    task = load(
        GOOD + "def loss(): return gluon.loss.L1Loss()\ndef metrics(outputs, labels): return {'a': 1}\n"
    )
    assert isinstance(task.loss, gluon.loss.L1Loss)
    assert task.metrics(None, None) == {"a": 1}


# Mistakes


@pytest.mark.parametrize(("source", "message"), MESSAGES.items(), ids=map(str, range(len(MESSAGES))))
def test_a_mistake_in_a_task_is_one_line_with_its_reason(load: Load, source: str, message: str) -> None:
    assert error_of(lambda: make_all(load, source)) == f"TASK=their_task: {message}"


LEAVING = {
    "sys.exit()": "SystemExit",
    "sys.exit(0)": "SystemExit: 0",
    "sys.exit(3)": "SystemExit: 3",
    "sys.exit('done')": "SystemExit: done",
    "exit()": "SystemExit",
    "raise KeyboardInterrupt": "KeyboardInterrupt",
    "raise GeneratorExit": "GeneratorExit",
    "raise BaseException('odd')": "BaseException: odd",
}


@pytest.mark.parametrize("leave", LEAVING)
@pytest.mark.parametrize("part", ["build_model()", "load_data()", "loss()", "an import"])
def test_a_part_that_exits_is_an_error_with_its_line(load: Load, part: str, leave: str) -> None:
    body = leave if part == "an import" else f"def {part.replace('data()', 'data(data_dir)')}: {leave}"
    message = error_of(lambda: make_all(load, f"{GOOD}import sys\n{body}\n"))
    assert message.startswith("TASK=their_task: ")
    assert LEAVING[leave] in message
    assert "(their_task.py:" in message


def test_a_signal_is_not_an_error_of_the_task() -> None:
    with pytest.raises(StopSignal), task_errors("small", "the loss"):
        raise StopSignal(signal.SIGTERM)


@pytest.mark.parametrize(
    ("leave", "code"),
    [("return", 0), ("sys.exit(0)", 0), ("sys.exit(7)", 7), ("sys.exit('why')", 1), ("assert False", 1)],
)
@pytest.mark.parametrize("is_imported", [True, False])
def test_a_forked_process_ends_where_it_leaves_the_task(
    load: Load, leave: str, code: int, *, is_imported: bool
) -> None:
    fork = f"import os, sys\nprocess = os.fork()\nif process == 0: {leave}\nended = os.waitpid(process, 0)[1]"
    body = textwrap.indent(fork, "    ") + "\n    return ended\n"
    source = f"{GOOD}def work():\n{body}\n"
    if is_imported:
        load(f"{source}ended = work()\n")
        status = sys.modules["their_task"].ended
    else:
        load(source)
        with task_errors("their_task", "work()"):
            status = sys.modules["their_task"].work()
    assert os.waitstatus_to_exitcode(status) == code


def test_an_exception_that_cannot_describe_itself_is_one_line_with_its_type() -> None:
    class MuteError(Exception):
        def __str__(self) -> str:
            raise ValueError

    def fail() -> None:
        with task_errors("small", "the loss"):
            raise MuteError

    assert error_of(fail).startswith("TASK=small: the loss raised MuteError: no reason given")


@pytest.mark.parametrize(("length", "kind"), [("-1", "ValueError"), ("6.0", "TypeError")])
def test_a_dataset_whose_length_is_no_count_is_one_line(load: Load, length: str, kind: str) -> None:
    source = (
        f"{GOOD}class Odd(gluon.data.Dataset):\n    def __len__(self): return {length}\n"
        "def load_data(data_dir): return Odd(), Odd()"
    )
    message = error_of(lambda: load(source).load_data(Path()))
    assert message.startswith(f"TASK=their_task: the length of the training set raised {kind}: ")


def test_the_reason_of_mxnet_is_without_its_own_traceback() -> None:
    def fail() -> None:
        with task_errors("small", "the loss"):
            (mx.nd.ones((2,)) + mx.nd.ones((3,))).wait_to_read()

    assert error_of(fail).startswith("TASK=small: the loss raised MXNetError: Check failed: ")


# Accuracy


def test_accuracy_is_whether_the_label_of_an_example_or_pixel_has_the_largest_score() -> None:
    scores = mx.nd.array([[1, 3, 2], [5, 1, 1], [0, 0, 1]])
    assert accuracy(scores, mx.nd.array([1, 2, 2]))["accuracy"].asnumpy().tolist() == [1, 0, 1]
    column = mx.nd.array([[1], [2], [2]])
    assert accuracy(scores, column)["accuracy"].asnumpy().tolist() == [1, 0, 1]
    pixels = mx.nd.array([[[1, 0, 5]], [[0, 1, 4]]]).reshape((1, 2, 3))
    assert accuracy(pixels, mx.nd.array([[0, 1, 1]]), axis=1)["accuracy"].asnumpy().tolist() == [[1, 1, 0]]


def test_one_output_has_no_accuracy() -> None:
    assert accuracy(mx.nd.zeros((4, 1)), mx.nd.zeros((4,))) == {}


CLASSIFYING = ("", "SoftmaxCrossEntropyLoss()", "SoftmaxCELoss(from_logits=True)", "SoftmaxCELoss(axis=1)")
OTHERS = (
    "L2Loss()",
    "L1Loss()",
    "HuberLoss()",
    "SigmoidBinaryCrossEntropyLoss()",
    "LogisticLoss(label_format='binary')",
    "HingeLoss()",
    "KLDivLoss()",
    "SoftmaxCrossEntropyLoss(sparse_label=False)",
)


@pytest.mark.parametrize("loss", CLASSIFYING)
def test_a_loss_for_class_numbers_has_accuracy(load: Load, loss: str) -> None:
    task = load(GOOD + (f"def loss(): return gluon.loss.{loss}" if loss else ""))
    outputs, labels = mx.nd.array([[0.2, 0.8], [0.9, 0.1]]), mx.nd.array([1, 1])
    for shape in ((2,), (2, 1)):
        assert task.metrics(outputs, labels.reshape(shape))["accuracy"].asnumpy().tolist() == [1, 0]


@pytest.mark.parametrize("loss", OTHERS)
@pytest.mark.parametrize(
    ("outputs", "labels"), [((4,), (4,)), ((4, 3), (4,)), ((4, 3), (4, 3)), ((4, 1), (4,))]
)
def test_another_loss_has_no_accuracy_for_any_shapes(
    load: Load, loss: str, outputs: tuple[int, ...], labels: tuple[int, ...]
) -> None:
    task = load(f"{GOOD}def loss(): return gluon.loss.{loss}")
    assert task.metrics(mx.nd.zeros(outputs), mx.nd.zeros(labels)) == {}


def test_a_loss_that_computes_something_else_has_no_accuracy_unless_the_task_has_metrics(load: Load) -> None:
    source = """
class Shifted(gluon.loss.SoftmaxCrossEntropyLoss):
    def hybrid_forward(self, F, pred, label):
        return super().hybrid_forward(F, pred, label - 1)

def loss(): return Shifted()
"""
    outputs, labels = mx.nd.zeros((4, 3)), mx.nd.ones((4,))
    assert load(GOOD + source).metrics(outputs, labels) == {}
    sys.modules.pop("their_task")
    task = load(f"{GOOD}{source}def metrics(outputs, labels): return {{'accuracy': labels == 1}}")
    assert list(task.metrics(outputs, labels)) == ["accuracy"]


def test_the_accuracy_of_a_mask_is_that_of_its_pixels(load: Load) -> None:
    task = load(f"{GOOD}def loss(): return gluon.loss.SoftmaxCrossEntropyLoss(axis=1)")
    # Shape (1, 3, 1, 2).
    outputs = mx.nd.array([[[[1.0, 0.0]], [[0.0, 2.0]], [[0.5, 0.5]]]])
    hits = task.metrics(outputs, mx.nd.array([[[0, 2]]]))["accuracy"]
    assert hits.asnumpy().tolist() == [[[1, 0]]]
