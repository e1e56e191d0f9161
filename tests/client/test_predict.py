"""Files of every kind become the inputs that the training set has, and a wrong file is one line."""

import contextlib
import gzip
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from client.__main__ import main
from client.mx import gluon, mx
from client.png import encode
from client.task import load_task
from fedmx.errors import SettingsError
from tests.client.given.pixels import GREY, as_idx, save
from tests.client.given.saved_runs import IMAGES, Workplace

# Examples of any shape and range, and a network that sees each number.
ANY = """
import numpy as np
from client.mx import gluon

def build_model():
    return gluon.nn.Dense(3)

def load_data(data_dir):
    rows = EXAMPLES
    return (rows, np.arange(len(rows)) % 3), (rows, np.arange(len(rows)) % 3)
"""
TWO_OUTPUTS = """
from client.mx import gluon
from images import load_data

class Model(gluon.HybridBlock):
    def __init__(self):
        super().__init__()
        self.first, self.second = gluon.nn.Dense(1), gluon.nn.Dense(2)

    def hybrid_forward(self, F, x):
        return self.first(x), self.second(x)

def build_model():
    return Model()
"""


def predict(capsys: pytest.CaptureFixture[str], *files: str) -> list[dict[str, Any]]:
    main(["predict", "latest", *files, "--json"])
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def softmax(net: gluon.Block, rows: NDArray[Any]) -> NDArray[np.float64]:
    scores = net(mx.nd.array(rows)).asnumpy().astype(np.float64)
    powers = np.exp(scores)
    shares: NDArray[np.float64] = powers / powers.sum(axis=1, keepdims=True)
    return shares


def probabilities(found: list[dict[str, Any]]) -> NDArray[np.float64]:
    return np.array([list(line["probabilities"].values()) for line in found])


def test_png_idx_and_npz_of_the_same_image_have_the_same_class(
    workplace: Workplace, capsys: pytest.CaptureFixture[str]
) -> None:
    net = save(workplace, "images", IMAGES, (2, 1, 6, 5))
    grey = GREY[..., 0]
    Path("one.png").write_bytes(encode(GREY))
    Path("two-idx3-ubyte").write_bytes(as_idx(np.stack([grey, grey.T.reshape(6, 5)])))
    Path("two-idx3-ubyte.gz").write_bytes(gzip.compress(Path("two-idx3-ubyte").read_bytes()))
    np.savez("one.npz", grey[None, None].astype(np.float32) / 255)
    found = predict(capsys, "one.png", "two-idx3-ubyte", "two-idx3-ubyte.gz", "one.npz")
    places = [(line["file"], line["index"]) for line in found]
    assert places == [
        ("one.png", 0),
        ("two-idx3-ubyte", 0),
        ("two-idx3-ubyte", 1),
        ("two-idx3-ubyte.gz", 0),
        ("two-idx3-ubyte.gz", 1),
        ("one.npz", 0),
    ]
    expected = softmax(net, np.stack([grey, grey.T.reshape(6, 5)])[:, None].astype(np.float32) / 255)
    assert probabilities(found) == pytest.approx(expected[[0, 0, 1, 0, 1, 0]], rel=1e-6)
    assert [line["class"] for line in found] == [str(row.argmax()) for row in expected[[0, 0, 1, 0, 1, 0]]]
    assert found[0]["probability"] == max(found[0]["probabilities"].values())


OWN_EXAMPLE = """
import numpy as np
from client.mx import gluon

CLASSES = ["no", "yes"]

def build_model():
    return gluon.nn.Dense(2)

def load_data(data_dir):
    raise AssertionError("not needed")

def load_example(path):
    return np.array([float(number) for number in path.read_text().split()])
"""


def test_a_task_reads_files_of_its_own(workplace: Workplace, capsys: pytest.CaptureFixture[str]) -> None:
    net = save(workplace, "own_example", OWN_EXAMPLE, (1, 3))
    Path("row.txt").write_text("0.1 0.2 -3")
    (found,) = predict(capsys, "row.txt")
    (expected,) = softmax(net, np.array([[0.1, 0.2, -3]]))
    assert found["probabilities"] == pytest.approx({"no": expected[0], "yes": expected[1]}, rel=1e-6)
    assert found["class"] == ("yes" if expected[1] > expected[0] else "no")
    Path("row.txt").write_text("0.1 b")
    with pytest.raises(SettingsError, match=r"load_example\(.row\.txt.\) raised ValueError.*own_example\.py"):
        main(["predict", "latest", "row.txt"])


def test_a_regression_has_a_value_and_several_outputs_have_values(
    workplace: Workplace, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = np.arange(60, dtype=np.float32).reshape(2, 30) / 60
    np.savez("rows.npz", rows)
    source = ANY.replace("EXAMPLES", "None").replace("Dense(3)", "Dense(1)")
    net = save(workplace, "value", f"{source}\ndef loss():\n    return gluon.loss.L1Loss()\n", (1, 30))
    expected = net(mx.nd.array(rows)).asnumpy()
    found = predict(capsys, "rows.npz")
    assert [line["value"] for line in found] == expected[:, 0].tolist()
    main(["predict", "latest", "rows.npz"])
    lines = capsys.readouterr().out.splitlines()
    assert [float(line.split()[-1]) for line in lines] == pytest.approx(expected[:, 0], rel=1e-5)
    workplace.write_task("images", IMAGES)
    net = save(workplace, "two_outputs", TWO_OUTPUTS, (1, 30))
    first, second = (array.asnumpy() for array in net(mx.nd.array(rows)))
    found = predict(capsys, "rows.npz")
    assert [line["values"] for line in found] == [
        [a.tolist(), b.tolist()] for a, b in zip(first, second, strict=True)
    ]


def test_outputs_for_each_pixel_are_values_and_not_a_class(
    workplace: Workplace, capsys: pytest.CaptureFixture[str]
) -> None:
    images = np.arange(12, dtype=np.float32).reshape(1, 1, 3, 4) / 12
    np.savez("images.npz", images)
    source = ANY.replace("EXAMPLES", "None").replace("Dense(3)", "Conv2D(2, 1)")
    loss = "\ndef loss():\n    return gluon.loss.SoftmaxCELoss(axis=1)\n"
    net = save(workplace, "pixels", source + loss, (1, 1, 3, 4))
    (found,) = predict(capsys, "images.npz")
    assert found["values"] == net(mx.nd.array(images)).asnumpy()[0].tolist()


def test_the_text_has_a_line_for_each_example(
    workplace: Workplace, capsys: pytest.CaptureFixture[str]
) -> None:
    net = save(workplace, "images", IMAGES, (2, 1, 6, 5))
    rows = np.random.default_rng(5).random((250, 1, 6, 5)).astype(np.float32)
    np.savez("many.npz", rows)
    main(["predict", "latest", "many.npz"])
    lines = capsys.readouterr().out.splitlines()
    expected = softmax(net, rows)
    assert lines == [
        f"many.npz[{number}]: class {row.argmax()}, probability {row.max():.4f}"
        for number, row in enumerate(expected)
    ]


@pytest.mark.parametrize("classes", ["3", "{'a': 1}", "['a', 'b']", "range(3)", "[1, 2, 3]"])
def test_classes_that_do_not_name_each_output_are_ignored(
    workplace: Workplace, capsys: pytest.CaptureFixture[str], classes: str
) -> None:
    name = f"classes_{classes.encode().hex()}"
    save(workplace, name, f"CLASSES = {classes}\n{IMAGES}", (2, 1, 6, 5))
    np.savez("rows.npz", np.zeros((1, 1, 6, 5), np.float32))
    (found,) = predict(capsys, "rows.npz")
    assert list(found["probabilities"]) == ["0", "1", "2"]


NUMPY_ARRAYS = """
from client.mx import gluon, mx
from images import load_data

class Model(gluon.HybridBlock):
    def __init__(self):
        super().__init__()
        self.layer = gluon.nn.Dense(3)

    def hybrid_forward(self, F, x):
        return F.np.tanh(self.layer(x))

def build_model():
    return Model()
"""


def test_a_task_that_computes_with_numpy_arrays_is_applied_to_files(
    workplace: Workplace, capsys: pytest.CaptureFixture[str]
) -> None:
    workplace.write_task("images", IMAGES)
    np.savez("rows.npz", np.zeros((2, 1, 6, 5), np.float32))
    # What `npx.set_np()` does, until the end of the block.
    with mx.util.np_shape(True), mx.util.np_array(True):
        workplace.write_task("numpy_arrays", NUMPY_ARRAYS)
        net = load_task("numpy_arrays").build_model()
        net.initialize()
        net(mx.np.zeros((1, 1, 6, 5)))
        workplace.save_run("numpy_arrays", net)
        found = predict(capsys, "rows.npz")
        main(["export", "latest", "--format", "mxnet", "--input", "1,6,5", "--output", "model"])
    assert probabilities(found) == pytest.approx(np.full((2, 3), 1 / 3), rel=1e-6)
    assert "tanh" in Path("model-symbol.json").read_text()


PRINTS = """
import images
from client.mx import gluon

def build_model():
    print("building")
    return images.build_model()

def load_data(data_dir):
    print("loading")
    return images.load_data(data_dir)
"""


def test_standard_output_has_the_result_alone_where_a_task_prints(
    workplace: Workplace, capsys: pytest.CaptureFixture[str]
) -> None:
    save(workplace, "images", IMAGES, (2, 1, 6, 5))
    save(workplace, "prints", PRINTS, (2, 1, 6, 5))
    capsys.readouterr()
    np.savez("rows.npz", np.zeros((2, 1, 6, 5), np.float32))
    for arguments in (["predict", "latest", "rows.npz"], ["evaluate", "latest"], ["check-task", "prints"]):
        main([*arguments, "--json"])
        captured = capsys.readouterr()
        assert all(isinstance(json.loads(line), dict) for line in captured.out.splitlines())
        assert "building" in captured.err


STATES = """
from client.mx import gluon
from images import load_data

def build_model():
    return gluon.rnn.LSTMCell(3, input_size=5)
"""


def test_a_network_that_needs_more_than_inputs_is_applied_in_a_script(workplace: Workplace) -> None:
    workplace.write_task("images", IMAGES)
    net = load_task(workplace.write_task("states", STATES)).build_model()
    net.initialize()
    workplace.save_run("states", net)
    np.savez("rows.npz", np.zeros((2, 5), np.float32))
    with pytest.raises(SettingsError, match=r"states.*load_into"):
        main(["predict", "latest", "rows.npz"])
    with pytest.raises(SettingsError, match=r"states.*--format params"):
        main(["export", "latest", "--format", "mxnet", "--input", "5"])


def test_a_reader_that_has_enough_ends_a_command_without_an_error(workplace: Workplace) -> None:
    save(workplace, "images", IMAGES, (2, 1, 6, 5))
    np.savez("rows.npz", np.zeros((3, 1, 6, 5), np.float32))
    reader, writer = os.pipe()
    os.close(reader)
    output = os.fdopen(writer, "w")
    with contextlib.redirect_stdout(output):
        main(["predict", "latest", "rows.npz"])
    with contextlib.suppress(BrokenPipeError):
        output.close()
