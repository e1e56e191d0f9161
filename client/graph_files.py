"""A run's network as a graph, in files that programs without the task can use: MXNet's own, or ONNX."""

import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from client import onnx_file
from client.batches import read_batch
from client.device import as_task_array
from client.loading import build_network
from client.mx import gluon, mx
from client.saved_run import SavedRun
from client.seeding import seed_all
from client.settings import load_settings
from client.task import Task, load_task
from client.task_errors import task_errors
from fedmx import parsing
from fedmx.errors import DataError, SettingsError

Inputs = Sequence[mx.nd.NDArray]

# With a single example, a network that mixes up the axis of examples and another one would work.
_SAMPLE = 2
_WAY_OUT = "a network that is called with an example's inputs alone, or --format params"


def build(saved: SavedRun, form: str, shapes: Sequence[str]) -> dict[str, bytes]:
    """Build the files of a format.

    Args:
        saved: the run.
        form: `mxnet` or `onnx`.
        shapes: shape of one example for each input, as text; empty: those of the examples in DATA_DIR.

    Returns:
        The content of each file, by its suffix.

    Raises:
        SettingsError: a shape is not valid, or the network cannot be written in this format.
        DataError: a file of the run or the data cannot be read.
    """
    if form == "onnx":
        onnx_file.check_installed()
    data_dir = load_settings().data_dir
    task = load_task(saved.task, saved.hyperparameters.task_options, data_dir, saved.schema)
    # MXNet numbers layers by a global counter: with a new one, the same run always leads to the same file.
    with mx.name.NameManager(), tempfile.TemporaryDirectory() as folder:
        net = build_network(task, saved)
        _check_hybrid(task, net)
        inputs = [_make_input(shape) for shape in shapes] or _read_inputs(task, data_dir)
        symbol, params = _trace(task, net, inputs, Path(folder))
        if form == "onnx":
            return {".onnx": onnx_file.convert(task.name, symbol, params, inputs)}
        return {"-symbol.json": symbol.read_bytes(), "-0000.params": params.read_bytes()}


def _read_inputs(task: Task, data_dir: Path) -> Inputs:
    """Return some examples of the training set, in the form in which the network gets them."""
    seed_all(0)
    try:
        train, _ = task.load_data(data_dir)
        # A task's own loops may read items that form no batch, such as sentences of different lengths.
        count = min(1 if task.train else _SAMPLE, len(train))
        with task_errors(task.name, "a batch of its examples"):
            return read_batch(train, np.arange(count), mx.cpu()).inputs
    except (DataError, SettingsError) as error:
        raise DataError(
            f"{error}: needed for the shape of an example; set DATA_DIR, or pass a shape, such as"
            " --input 1,28,28"
        ) from None


def _make_input(text: str) -> mx.nd.NDArray:
    """Return examples of zeros with the dtype and shape of a text such as `int32:20` or `1,28,28`."""
    dtype, _, sizes = text.rpartition(":")
    try:
        shape = [parsing.integer(at_least=1)(size) for size in sizes.split(",") if size]
        return as_task_array(mx.nd.zeros((_SAMPLE, *shape), dtype=np.dtype(dtype or "float32")))
    except (ValueError, TypeError) as error:
        raise SettingsError(
            f"--input {text}: {error}; expected the shape of one example, such as 1,28,28 or int32:20"
        ) from None


def _check_hybrid(task: Task, net: gluon.Block) -> None:
    if not isinstance(net, gluon.HybridBlock):
        raise SettingsError(
            f"TASK={task.name}: the network is a {type(net).__name__}; expected a HybridBlock for this"
            " format, or --format params"
        )


def _trace(task: Task, net: gluon.Block, inputs: Inputs, folder: Path) -> tuple[Path, Path]:
    """Write the network as a symbol and its parameters, and return both paths."""
    with task_errors(task.name, "the hybridized network", _WAY_OUT), warnings.catch_warnings():
        # Parameters that the outputs do not depend on are left out of the file.
        warnings.filterwarnings("ignore", "Parameter .* is not (used by any computation|found in the graph)")
        net.hybridize()
        net(*inputs)
        net.export(str(folder / "model"))
    return folder / "model-symbol.json", folder / "model-0000.params"
