"""The user's module: what it may leave out, and the one line that each fault in it gives."""

import os
import signal
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from client.data import Dataset
from client.mx import gluon, mx
from client.task import Task, accuracy, load_task
from client.task_errors import task_errors
from fedmx.errors import DataError, FederationError, SettingsError, StopSignal

EXPECTED = "expected a module with build_model() and load_data(data_dir)"
PAIRS = "expected (train, test), each (examples, labels)"
GOOD = """
import numpy as np
from mxnet import gluon

def build_model():
    return gluon.nn.Dense(2)

def load_data(data_dir):
    return (np.ones((4, 3)), np.arange(4)), (np.ones((2, 3)), np.arange(2))
"""

Load = Callable[[str], Task]


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Load]:
    """Give a function that loads a task of this source."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def write_and_load(source: str) -> Task:
        (tmp_path / "their_task.py").write_text(source)
        return load_task("their_task")

    yield write_and_load
    sys.modules.pop("their_task", None)


def words_of(kind: type[FederationError], run: Callable[[], object]) -> str:
    with pytest.raises(kind) as caught:
        run()
    assert caught.value.exit_code == 2
    words = str(caught.value)
    assert "\n" not in words
    return words


# What may be left out


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


def test_a_tasks_own_loss_and_metrics_are_taken(load: Load) -> None:
    task = load(
        GOOD + "def loss(): return gluon.loss.L1Loss()\ndef metrics(outputs, labels): return {'a': 1}\n"
    )
    assert isinstance(task.loss, gluon.loss.L1Loss)
    assert task.metrics(None, None) == {"a": 1}


# What raises


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("def build_model(): return spam", "build_model() raised NameError: name 'spam' is not defined"),
        ("def load_data(data_dir): return {}['train']", "load_data() raised KeyError: 'train'"),
        ("def loss(): raise ValueError('first\\nsecond')", "loss() raised ValueError: first"),
        ("def loss(): assert False", "loss() raised AssertionError: no reason given"),
    ],
)
def test_a_part_that_raises_is_named_with_the_exception_and_the_line(
    load: Load, source: str, words: str
) -> None:
    def make_all() -> None:
        task = load(GOOD + source)
        task.build_model()
        task.load_data(Path())

    assert words_of(SettingsError, make_all) == f"TASK=their_task: {words} (their_task.py:10)"


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
def test_a_part_that_leaves_is_named_with_its_line(load: Load, part: str, leave: str) -> None:
    def make_all() -> None:
        body = leave if part == "an import" else f"def {part.replace('data()', 'data(data_dir)')}: {leave}"
        task = load(f"{GOOD}import sys\n{body}\n")
        task.build_model()
        task.load_data(Path())

    words = words_of(SettingsError, make_all)
    assert words.startswith("TASK=their_task: ")
    assert LEAVING[leave] in words
    assert "(their_task.py:" in words


def test_a_signal_is_not_a_fault_of_the_task() -> None:
    with pytest.raises(StopSignal), task_errors("small", "the loss"):
        raise StopSignal(signal.SIGTERM)


@pytest.mark.parametrize(
    ("leave", "code"),
    [("return", 0), ("sys.exit(0)", 0), ("sys.exit(7)", 7), ("sys.exit('why')", 1), ("assert False", 1)],
)
@pytest.mark.parametrize("is_imported", [True, False])
def test_a_forked_process_that_leaves_the_task_ends_there(
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


def test_the_reason_of_mxnet_is_given_without_its_own_traceback() -> None:
    def fail() -> None:
        with task_errors("small", "the loss"):
            (mx.nd.ones((2,)) + mx.nd.ones((3,))).wait_to_read()

    assert words_of(SettingsError, fail).startswith("TASK=small: the loss raised MXNetError: Check failed: ")


@pytest.mark.parametrize(
    ("name", "module"),
    [("my_task.py", "my_task"), ("./my_task", "my_task"), ("tasks/my_task.py", "tasks.my_task")],
)
def test_a_path_is_refused_with_the_modules_name(name: str, module: str) -> None:
    words = words_of(SettingsError, lambda: load_task(name))
    assert words.startswith(f"TASK={name}: ")
    assert words.endswith(f" {module}")


# What cannot be imported


def test_a_module_that_is_not_there_is_named() -> None:
    assert words_of(SettingsError, lambda: load_task("no_such.task")) == (
        f"TASK=no_such.task: cannot be imported: No module named 'no_such'; {EXPECTED}"
    )


@pytest.mark.parametrize("name", ["", ".task", "..", "client/tasks/mnist.py"])
def test_a_text_that_names_no_module_is_one_line(name: str) -> None:
    words = words_of(SettingsError, lambda: load_task(name))
    assert words.startswith(f"TASK={name}: cannot be imported: ")


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("def build_model(:", "invalid syntax (their_task.py, line 1)"),
        ("import no_such_package", "No module named 'no_such_package'"),
        ("from client.data import no_such_name", "cannot import name 'no_such_name' from 'client.data' ("),
        ("raise KeyError('spam')", "KeyError: 'spam'"),
        ("raise RuntimeError('first\\nsecond')", "RuntimeError: first"),
        ("\n\nassert False", "AssertionError: no reason given (their_task.py:3)"),
        ("open('/no/such')", "FileNotFoundError: [Errno 2] No such file or directory: '/no/such'"),
    ],
)
def test_a_module_that_fails_on_import_is_one_line_with_the_reason(
    load: Load, source: str, reason: str
) -> None:
    words = words_of(SettingsError, lambda: load(source))
    assert words.startswith(f"TASK=their_task: cannot be imported: {reason}")
    assert words.endswith(f"; {EXPECTED}")


# What is missing or of the wrong kind


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("", f"build_model is missing; {EXPECTED}"),
        ("build_model = 3", f"build_model is missing; {EXPECTED}"),
        ("def build_model(): pass", f"load_data is missing; {EXPECTED}"),
        (
            GOOD + "loss = 3",
            "loss is an object of type int; expected a function that returns a loss, or no loss",
        ),
        (
            GOOD + "loss = gluon.loss.L2Loss()",
            "loss is an object of type L2Loss; expected a function that returns a loss, or no loss",
        ),
        (GOOD + "metrics = {}", "metrics is an object of type dict; expected a function or no metrics"),
        (
            GOOD + "def loss(): pass",
            "loss() returned None; expected a gluon loss or a function of outputs and labels",
        ),
    ],
)
def test_a_module_that_is_no_task_says_what_it_lacks(load: Load, source: str, words: str) -> None:
    assert words_of(SettingsError, lambda: load(source)) == f"TASK=their_task: {words}"


@pytest.mark.parametrize(
    ("model", "found"),
    [
        ("None", "None"),
        ("gluon.nn.Dense", "an object of type type"),
        ("3", "an object of type int"),
    ],
)
def test_a_model_that_is_no_block_is_refused(load: Load, model: str, found: str) -> None:
    task = load(f"{GOOD}\ndef build_model(): return {model}")
    assert words_of(SettingsError, task.build_model) == (
        f"TASK=their_task: build_model() returned {found}; expected a gluon Block"
    )


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ("None", f"load_data() returned None; {PAIRS}"),
        ("np.ones((2, 2))", f"load_data() returned an object of type ndarray; {PAIRS}"),
        ("(1, 2, 3)", f"load_data() returned an object of type tuple of 3; {PAIRS}"),
        ("{'train': 1, 'test': 2}", f"load_data() returned an object of type dict; {PAIRS}"),
        ("(one, np.ones(2))", f"load_data() returned an object of type ndarray as test set; {PAIRS}"),
        ("((1, 2, 3), one)", f"load_data() returned an object of type tuple of 3 as training set; {PAIRS}"),
    ],
)
def test_data_that_is_no_pair_of_pairs_is_refused(load: Load, data: str, words: str) -> None:
    task = load(f"{GOOD}\none = np.ones(2), np.ones(2)\ndef load_data(data_dir): return {data}")
    assert words_of(SettingsError, lambda: task.load_data(Path())) == f"TASK=their_task: {words}"


@pytest.mark.parametrize(
    ("test", "words"),
    [
        ("([1.0], np.ones(1))", "test set: examples are of type list; expected a numpy array"),
        (
            "(np.ones(3), np.ones(2))",
            "test set: 3 examples, but 2 labels; expected one label per example",
        ),
        (
            "Dataset(np.ones(3), np.ones(2))",
            "test set: 3 examples, but 2 labels; expected one label per example",
        ),
    ],
)
def test_data_that_is_no_dataset_names_task_and_set(load: Load, test: str, words: str) -> None:
    source = f"from client.data import Dataset\n{GOOD}\none = np.ones(2), np.ones(2)\n"
    task = load(f"{source}def load_data(data_dir): return one, {test}")
    assert words_of(DataError, lambda: task.load_data(Path())) == f"TASK=their_task: {words}"


def test_a_file_that_a_task_cannot_read_is_one_line(load: Load) -> None:
    task = load(f"{GOOD}\ndef load_data(data_dir): return np.load(data_dir / 'x.npy')")
    assert words_of(DataError, lambda: task.load_data(Path("/no/such"))) == (
        "DATA_DIR=/no/such: cannot be read: [Errno 2] No such file or directory: '/no/such/x.npy'"
    )


# Accuracy


def test_accuracy_tells_for_each_example_or_pixel_whether_the_largest_score_is_its_labels() -> None:
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
def test_a_loss_that_takes_class_numbers_has_accuracy(load: Load, loss: str) -> None:
    task = load(GOOD + (f"def loss(): return gluon.loss.{loss}" if loss else ""))
    outputs, labels = mx.nd.array([[0.2, 0.8], [0.9, 0.1]]), mx.nd.array([1, 1])
    for shape in ((2,), (2, 1)):
        assert task.metrics(outputs, labels.reshape(shape))["accuracy"].asnumpy().tolist() == [1, 0]


@pytest.mark.parametrize("loss", OTHERS)
@pytest.mark.parametrize(
    ("outputs", "labels"), [((4,), (4,)), ((4, 3), (4,)), ((4, 3), (4, 3)), ((4, 1), (4,))]
)
def test_another_loss_has_no_accuracy_whatever_the_shapes(
    load: Load, loss: str, outputs: tuple[int, ...], labels: tuple[int, ...]
) -> None:
    task = load(f"{GOOD}def loss(): return gluon.loss.{loss}")
    assert task.metrics(mx.nd.zeros(outputs), mx.nd.zeros(labels)) == {}


def test_a_loss_that_computes_something_else_has_no_accuracy_unless_its_task_gives_one(load: Load) -> None:
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


def test_masks_have_the_share_of_their_pixels(load: Load) -> None:
    task = load(f"{GOOD}def loss(): return gluon.loss.SoftmaxCrossEntropyLoss(axis=1)")
    outputs = mx.nd.array([[[[1.0, 0.0]], [[0.0, 2.0]], [[0.5, 0.5]]]])  # (1, 3, 1, 2)
    hits = task.metrics(outputs, mx.nd.array([[[0, 2]]]))["accuracy"]
    assert hits.asnumpy().tolist() == [[[1, 0]]]
