"""Converts a traced network to ONNX with MXNet's exporter, and corrects the exporter's mistakes.

MXNet 1.9.1 writes the operators of opset 13, but declares the newest opset that the installed onnx knows, in
which some of them have another form. It also lists every parameter among the inputs.
"""

import importlib.util
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from client import onnx_rnn
from client.mx import mx
from client.task_errors import explain
from fedmx.errors import SettingsError

_OPSET = 13
# The version of the file format that belongs to this opset, which older programs read as well.
_IR_VERSION = 7
_BATCH = "batch"


def check_installed() -> None:
    """Check that the package `onnx`, which MXNet's exporter needs, is installed.

    Raises:
        SettingsError: it is not installed.
    """
    if importlib.util.find_spec("onnx") is None:
        raise SettingsError(
            "--format onnx: the package onnx is not installed; expected onnx 1.18.0: run `make export`, or"
            " `pip install onnx==1.18.0`"
        )


def convert(task_name: str, symbol: Path, params: Path, inputs: Sequence[mx.nd.NDArray]) -> bytes:
    """Return the content of an ONNX file, in which the number of examples is free.

    Args:
        task_name: the task, for errors.
        symbol: file with the network's graph.
        params: file with its parameters.
        inputs: some examples, an array (n, ...) for each input.

    Raises:
        SettingsError: the exporter does not support one of the network's operators.
    """
    import onnx  # noqa: PLC0415 - an optional dependency

    path = symbol.with_name("model.onnx")
    try:
        _write(symbol, params, inputs, path)
        made = onnx.load(str(path))
        _correct(made)
        onnx.checker.check_model(made, full_check=True)
    # The exporter raises AttributeError, AssertionError, KeyError and others, none of them documented.
    except Exception as error:
        raise SettingsError(
            f"TASK={task_name}: MXNet's exporter to ONNX failed: {explain(error, None)}; expected operators"
            " that it supports, or --format mxnet"
        ) from error
    data: bytes = made.SerializeToString()
    return data


def _write(symbol: Path, params: Path, inputs: Sequence[mx.nd.NDArray], path: Path) -> None:
    import onnx  # noqa: PLC0415 - an optional dependency

    check = onnx.checker.check_graph
    # The exporter checks against the newest opset; `convert` checks the corrected graph instead.
    onnx.checker.check_graph = lambda *_: None
    try:
        with warnings.catch_warnings():
            # The exporter was written for an older onnx.
            warnings.simplefilter("ignore", DeprecationWarning)
            mx.onnx.export_model(
                str(symbol),
                str(params),
                [array.shape for array in inputs],
                [array.dtype for array in inputs],
                str(path),
                dynamic=True,
                dynamic_input_shapes=[(None, *array.shape[1:]) for array in inputs],
            )
    finally:
        onnx.checker.check_graph = check


def _correct(made: Any) -> None:
    made.ir_version = _IR_VERSION
    for opset in made.opset_import:
        opset.version = _OPSET
    onnx_rnn.correct_stacks(made.graph)
    parameters = {initializer.name for initializer in made.graph.initializer}
    inputs = [value for value in made.graph.input if value.name not in parameters]
    del made.graph.input[:]
    made.graph.input.extend(inputs)
    for value in (*made.graph.input, *made.graph.output):
        sizes = value.type.tensor_type.shape.dim
        if sizes and not sizes[0].dim_value:
            sizes[0].dim_param = _BATCH
