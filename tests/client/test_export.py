"""Exported files compute what the network does, in MXNet's old and new ways, in numpy and in onnxruntime."""

import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from client.__main__ import main
from client.loading import build_network
from client.mx import gluon, mx
from client.saved_run import find_run
from client.task import load_task
from tests.bounds import HANG_S
from tests.client.given.saved_runs import IMAGES, Workplace, initialize
from tests.pages import find_code

MLP = """
from client.mx import gluon
from images import load_data

def build_model(options):
    net = gluon.nn.HybridSequential()
    net.add(gluon.nn.Dense(options["units"], activation="relu"), gluon.nn.Dense(3))
    return net
"""
# A user and an item, of different dtypes; reductions have another form in newer opsets of ONNX.
TWO_INPUTS = """
import numpy as np
from client.mx import gluon

class Model(gluon.HybridBlock):
    def __init__(self):
        super().__init__()
        self.user = gluon.nn.Embedding(10, 4)
        self.item = gluon.nn.Embedding(20, 4)
        self.score = gluon.nn.Dense(2)

    def hybrid_forward(self, F, users, items):
        user, item = self.user(users), self.item(items)
        scores = self.score(F.concat(user, item, dim=1))
        return F.broadcast_add(scores, F.mean(user * item, axis=1, keepdims=True))

def build_model():
    return Model()

def load_data(data_dir):
    random = np.random.default_rng(2)
    users, items = random.integers(0, 10, 30).astype(np.int32), random.integers(0, 20, 30).astype(np.float32)
    return ((users, items), users % 2), ((users, items), users % 2)
"""
TASKS: dict[str, tuple[str, dict[str, Any], list[tuple[int, ...]]]] = {
    "mlp": (MLP, {"units": 7}, [(2, 1, 6, 5)]),
    "images": (IMAGES, {}, [(2, 1, 6, 5)]),
    "recommender": (TWO_INPUTS, {}, [(2,), (2,)]),
}


@pytest.fixture(params=TASKS)
def run(request: pytest.FixtureRequest, workplace: Workplace) -> str:
    """A run of one of the tasks, and the name of its task."""
    name: str = request.param
    source, options, shapes = TASKS[name]
    workplace.write_task("images", IMAGES)
    workplace.write_task(name, source)
    net = load_task(name, options).build_model()
    workplace.save_run(name, initialize(net, *shapes), options=options)
    return name


def read_test_inputs(task_name: str, count: int) -> list[Any]:
    task = load_task(task_name, TASKS[task_name][1])
    _, test = task.load_data(Path())
    return [rows[:count] for rows in test.inputs]


def compute(task_name: str, inputs: list[Any]) -> Any:
    """Compute the outputs of the run's network, layer by layer."""
    net = build_network(load_task(task_name, TASKS[task_name][1]), find_run("latest"))
    return net(*(mx.nd.array(rows, dtype=rows.dtype) for rows in inputs)).asnumpy()


@pytest.mark.parametrize("count", [1, 2, 9])
def test_onnxruntime_computes_the_same_for_any_number_of_examples(run: str, count: int) -> None:
    main(["export", "latest", "--format", "onnx", "--output", "model.onnx"])
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession("model.onnx", options)
    inputs = read_test_inputs(run, count)
    assert [value.shape[0] for value in session.get_inputs()] == ["batch"] * len(inputs)
    named = {value.name: rows for value, rows in zip(session.get_inputs(), inputs, strict=True)}
    (outputs,) = session.run(None, named)
    assert abs(outputs - compute(run, inputs)).max() <= 1e-5


def test_a_symbol_block_computes_the_same(run: str) -> None:
    main(["export", "latest", "--format", "mxnet"])
    inputs = read_test_inputs(run, 9)
    names = ["data"] if len(inputs) == 1 else ["data0", "data1"]
    with warnings.catch_warnings():
        # MXNet cannot know the inputs' dtypes from the file.
        warnings.simplefilter("ignore")
        net = gluon.SymbolBlock.imports("a-run-symbol.json", names, "a-run-0000.params")
    outputs = net(*(mx.nd.array(rows, dtype=rows.dtype) for rows in inputs)).asnumpy()
    assert abs(outputs - compute(run, inputs)).max() <= 1e-6


def test_mxnet_s_old_module_computes_the_same(run: str) -> None:
    main(["export", "latest", "--format", "mxnet", "--output", "old"])
    inputs = read_test_inputs(run, 9)
    names = ["data"] if len(inputs) == 1 else ["data0", "data1"]
    symbol, arguments, auxiliary = mx.model.load_checkpoint("old", 0)
    module = mx.mod.Module(symbol, data_names=names, label_names=None)
    shapes = [(name, rows.shape) for name, rows in zip(names, inputs, strict=True)]
    module.bind(data_shapes=shapes, for_training=False)
    module.set_params(arguments, auxiliary)
    module.forward(mx.io.DataBatch([mx.nd.array(rows) for rows in inputs]))
    assert abs(module.get_outputs()[0].asnumpy() - compute(run, inputs)).max() <= 1e-6


def test_params_load_into_the_network_and_npz_into_numpy(run: str) -> None:
    main(["export", "latest", "--format", "params"])
    main(["export", "latest", "--format", "npz"])
    inputs = read_test_inputs(run, 9)
    net = load_task(run, TASKS[run][1]).build_model()
    net.load_parameters("a-run.params")
    outputs = net(*(mx.nd.array(rows, dtype=rows.dtype) for rows in inputs)).asnumpy()
    assert (outputs == compute(run, inputs)).all()
    with np.load("a-run.npz", allow_pickle=False) as arrays:
        assert sorted(arrays.files) == sorted(find_run("latest").read_arrays())


def test_the_documented_script_classifies_with_onnxruntime(workplace: Workplace) -> None:
    net = gluon.nn.HybridSequential()
    net.add(gluon.nn.Dense(256, activation="relu"), gluon.nn.Dense(64, activation="relu"), gluon.nn.Dense(10))
    initialize(net, (1, 784))
    workplace.save_run("client.tasks.mnist", net)
    main(["export", "latest", "--format", "onnx", "--input", "1,28,28"])
    (workplace.folder / "classify.py").write_text(find_code("# classify.py"))
    command = [sys.executable, "classify.py", "a-run.onnx"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=HANG_S)
    expected = int(net(mx.nd.zeros((1, 784))).argmax(axis=1).asscalar())
    assert done.stdout == f"[{' '.join([str(expected)] * 5)}]\n"
