"""A run's model on a whole test set: metrics and confusion matrices against numpy."""

import json
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from client import confusion
from client.__main__ import main
from client.mx import gluon, mx
from client.saved_run import find_run
from client.task import load_task
from fedmx.errors import DataError, SettingsError
from tests.client.given.saved_runs import IMAGES, Workplace, initialize

BINARY = """
import numpy as np
from client.mx import gluon

def build_model():
    return gluon.nn.Dense(1)

def loss():
    return gluon.loss.LOSS

def load_data(data_dir):
    random = np.random.default_rng(3)
    rows = random.normal(size=(50, 4)).astype(np.float32)
    labels = LABELS
    return (rows, labels), (rows, labels)
"""
REGRESSION = """
import numpy as np
from client.mx import gluon

def build_model():
    return gluon.nn.Dense(1)

def loss():
    return gluon.loss.L2Loss()

def load_data(data_dir):
    rows = np.arange(20, dtype=np.float32).reshape(10, 2)
    return (rows, rows[:, 0]), (rows, rows[:, 0])
"""
SEGMENTS = """
import numpy as np
from client.mx import gluon

CLASSES = ["ground", "tree", "house"]

def build_model():
    return gluon.nn.Conv2D(3, 1)

def loss():
    return gluon.loss.SoftmaxCELoss(axis=1)

def load_data(data_dir):
    random = np.random.default_rng(4)
    images = random.random((12, 1, 3, 2)).astype(np.float32)
    masks = random.integers(0, 3, (12, 3, 2)).astype(np.uint8)
    return (images, masks), (images, masks)
"""
OWN = (
    REGRESSION
    + """
def train(net, data, context):
    return {}

def evaluate(net, data, context):
    outputs = [net(gluon.data.dataloader.default_batchify_fn([row])).asscalar() for row, _ in data]
    return {"rmse": float(np.sqrt(np.mean([(o - y) ** 2 for o, (_, y) in zip(outputs, data)])))}, 2.5
"""
)


def save(workplace: Workplace, name: str, source: str, shape: tuple[int, ...]) -> gluon.Block:
    """Save a run of a task, and return its network."""
    workplace.write_task(name, source)
    net = initialize(load_task(name).build_model(), shape)
    workplace.save_run(name, net)
    return net


def evaluate(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    main(["evaluate", "latest", ".", "--json", *arguments])
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def count_by_hand(labels: NDArray[Any], predicted: NDArray[Any], classes: int) -> list[list[int]]:
    pairs = list(zip(labels.reshape(-1).astype(int), predicted.reshape(-1).astype(int), strict=True))
    return [[pairs.count((label, other)) for other in range(classes)] for label in range(classes)]


def test_a_classification_has_accuracy_loss_and_a_confusion_matrix(
    workplace: Workplace, capsys: pytest.CaptureFixture[str]
) -> None:
    net = save(workplace, "images", IMAGES, (2, 1, 6, 5))
    _, test = load_task("images").load_data(Path())
    outputs = net(mx.nd.array(test.examples)).asnumpy().astype(np.float64)
    labels = test.labels
    found = evaluate(capsys)
    logarithms = outputs - np.log(np.exp(outputs).sum(axis=1, keepdims=True))
    assert found["metrics"]["accuracy"] == pytest.approx((outputs.argmax(axis=1) == labels).mean())
    assert found["metrics"]["loss"] == pytest.approx(-logarithms[range(10), labels].mean(), rel=1e-5)
    assert found["confusion"] == count_by_hand(labels, outputs.argmax(axis=1), 3)
    assert (found["num_examples"], found["classes"]) == (10, ["0", "1", "2"])


@pytest.mark.parametrize(
    ("loss", "labels", "names"),
    [
        ("SigmoidBCELoss()", "(rows[:, :1] > 0.2).astype(np.float32)", ["0", "1"]),
        ("SigmoidBCELoss(from_sigmoid=True)", "(rows[:, 0] > 0.2).astype(np.int64)", ["0", "1"]),
        ("LogisticLoss()", "np.sign(rows[:, 0] - 0.2)", ["-1", "1"]),
        ("LogisticLoss(label_format='binary')", "(rows[:, 0] > 0.2).astype(np.int64)", ["0", "1"]),
    ],
)
def test_one_output_for_two_classes_has_a_confusion_matrix(
    workplace: Workplace, capsys: pytest.CaptureFixture[str], loss: str, labels: str, names: list[str]
) -> None:
    name = f"binary_{zlib.crc32((loss + labels).encode())}"
    source = BINARY.replace("LOSS", loss).replace("LABELS", labels)
    threshold = 0.5 if "from_sigmoid" in loss else 0.0
    if threshold:
        source = source.replace("Dense(1)", "Dense(1, activation='sigmoid')")
    net = save(workplace, name, source, (2, 4))
    _, test = load_task(name).load_data(Path())
    outputs = net(mx.nd.array(test.examples)).asnumpy()
    found = evaluate(capsys)
    above = test.labels > 0
    assert found["confusion"] == count_by_hand(above, outputs > threshold, 2)
    assert found["classes"] == names


def test_each_pixel_of_a_segmentation_is_counted(
    workplace: Workplace, capsys: pytest.CaptureFixture[str]
) -> None:
    net = save(workplace, "segments", SEGMENTS, (1, 1, 3, 2))
    _, test = load_task("segments").load_data(Path())
    outputs = net(mx.nd.array(test.examples)).asnumpy()
    found = evaluate(capsys)
    assert found["confusion"] == count_by_hand(test.labels, outputs.argmax(axis=1), 3)
    assert sum(map(sum, found["confusion"])) == 12 * 6
    assert found["classes"] == ["ground", "tree", "house"]


def test_a_regression_has_metrics_alone(workplace: Workplace, capsys: pytest.CaptureFixture[str]) -> None:
    net = save(workplace, "regression", REGRESSION, (2, 2))
    rows = np.arange(20, dtype=np.float32).reshape(10, 2)
    errors = net(mx.nd.array(rows)).asnumpy()[:, 0] - rows[:, 0]
    found = evaluate(capsys)
    assert found["metrics"] == {"loss": pytest.approx((errors**2 / 2).mean(), rel=1e-5)}
    assert "confusion" not in found
    with pytest.raises(SettingsError, match=r"--plot: .* are not classes"):
        main(["evaluate", "latest", ".", "--plot", "matrix.png"])
    assert not Path("matrix.png").exists()


def test_a_task_s_own_evaluation_is_used(workplace: Workplace, capsys: pytest.CaptureFixture[str]) -> None:
    net = save(workplace, "own_loop", OWN, (2, 2))
    rows = np.arange(20, dtype=np.float32).reshape(10, 2)
    errors = net(mx.nd.array(rows)).asnumpy()[:, 0] - rows[:, 0]
    found = evaluate(capsys)
    assert found["metrics"] == {"rmse": pytest.approx(np.sqrt((errors**2).mean()), rel=1e-5)}
    assert found["num_examples"] == 2.5


def test_the_text_has_each_count_with_recall_and_precision() -> None:
    counts = np.array([[3, 1], [0, 12]])
    lines = [line.split() for line in confusion.as_text(counts, ["cat", "dog"])]
    assert lines[1:] == [
        ["cat", "dog", "recall"],
        ["cat", "3", "1", "0.750"],
        ["dog", "0", "12", "1.000"],
        ["precision", "1.000", "0.923"],
    ]


def test_for_many_classes_the_most_frequent_errors_are_listed() -> None:
    counts = np.diag(np.full(50, 9))
    counts[7, 8], counts[9, 3] = 2, 5
    lines = list(confusion.as_text(counts, [f"class-{number}" for number in range(50)]))
    assert len(lines) == 3
    assert lines[1].split() == ["label", "class-9", "predicted", "as", "class-3:", "5"]
    assert lines[2].split() == ["label", "class-7", "predicted", "as", "class-8:", "2"]


def read_png(data: bytes) -> NDArray[np.uint8]:
    """Decode by OpenCV, which MXNet contains."""
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    decoded: NDArray[np.uint8] = mx.image.imdecode(data).asnumpy()
    return decoded


def test_the_picture_is_darker_where_a_label_s_share_is_larger() -> None:
    picture = read_png(confusion.as_picture(np.array([[90, 10], [0, 0]])))
    corners = [picture[40 + 48 * row + 4, 40 + 48 * column + 4] for row in range(2) for column in range(2)]
    # 255 - 0.9 * (255 - 8) and so on, without the fraction.
    assert [corner.tolist() for corner in corners] == [
        [32, 68, 121],
        [230, 234, 240],
        [255, 255, 255],
        [255, 255, 255],
    ]


@pytest.mark.parametrize("classes", [1, 2, 30, 31, 500])
def test_a_picture_of_any_number_of_classes_can_be_decoded(classes: int) -> None:
    data = confusion.as_picture(np.full((classes, classes), 123456))
    rows, columns = struct.unpack(">II", data[16:24])
    assert read_png(data).shape == (rows, columns, 3)
    assert rows >= 40 + 4 * classes


def test_the_plot_is_written_in_addition_to_the_text(
    workplace: Workplace, capsys: pytest.CaptureFixture[str]
) -> None:
    save(workplace, "images", IMAGES, (2, 1, 6, 5))
    main(["evaluate", "latest", ".", "--plot", "matrix.png"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "run a-run, round 0, 10 examples"
    assert [line.split()[0] for line in lines[1:5]] == ["accuracy", "auc", "f1", "loss"]
    assert read_png(Path("matrix.png").read_bytes()).shape == (184, 184, 3)


def test_a_folder_without_data_is_one_line(workplace: Workplace) -> None:
    net = gluon.nn.HybridSequential()
    net.add(gluon.nn.Dense(256), gluon.nn.Dense(64), gluon.nn.Dense(10))
    workplace.save_run("client.tasks.mnist", initialize(net, (1, 784)))
    with pytest.raises(DataError, match=r"DATA_DIR=empty: cannot be read"):
        main(["evaluate", "latest", "empty"])


def test_the_settings_of_the_run_are_those_that_it_recorded(workplace: Workplace) -> None:
    workplace.save_run("any", initialize(gluon.nn.Dense(1), (1, 2)), options={"units": [3, 4]})
    how = find_run("latest").hyperparameters
    assert (how.task_options, how.batch_size, how.momentum) == ({"units": [3, 4]}, 4, 0.9)


RAGGED = """
import numpy as np
from client.mx import gluon, mx

class Sentences(gluon.data.Dataset):
    def __len__(self):
        return 9

    def __getitem__(self, index):
        return np.ones(index + 2, np.float32), index % 2

def build_model():
    return gluon.nn.Embedding(3, 2)

def load_data(data_dir):
    return Sentences(), Sentences()

def train(net, data, context):
    net.weight.set_data(net.weight.data() + 1)

def evaluate(net, data, context):
    return {"length": np.mean([len(words) for words, _ in data])}
"""


def test_items_that_cannot_form_a_batch_need_the_tasks_own_loops(
    workplace: Workplace, capsys: pytest.CaptureFixture[str]
) -> None:
    save(workplace, "ragged", RAGGED, (1, 3))
    found = evaluate(capsys)
    assert found == {"run_id": "a-run", "round": 0, "num_examples": 9.0, "metrics": {"length": 6.0}}
    main(["check-task", "ragged", ".", "--json"])
    assert json.loads(capsys.readouterr().out)["evaluate"]["length"] > 0
    main(["export", "latest", "--format", "mxnet"])
    assert Path("a-run-symbol.json").exists()
    # Without a loop of its own, the task needs batches.
    workplace.write_task(
        "no_batches", RAGGED.replace("def train", "def unused").replace("def eval", "def un")
    )
    workplace.save_run("no_batches", initialize(load_task("ragged").build_model(), (1, 3)), "no-batches")
    for command in (["evaluate", "latest", "."], ["export", "latest", "--format", "mxnet"]):
        with pytest.raises((SettingsError, DataError), match="TASK=no_batches: ") as caught:
            main(command)
        assert len(str(caught.value).splitlines()) == 1
