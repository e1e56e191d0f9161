"""Which device to train on, with a clear word when it is not there, and how arrays get onto it."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from client.mx import mx
from fedmx.errors import SettingsError
from fedmx.log import warn

_ROWS_AT_ONCE = 256


def pick_device(device: str) -> mx.Context:
    """Give MXNet's context for DEVICE.

    A GPU counts when it has carried out an operation: a driver that lists one is no proof.

    Args:
        device: `auto` (a GPU if one works, else the CPU with one warning), `cpu` or `gpu`.

    Raises:
        SettingsError: `gpu`, and none works.
    """
    if device == "cpu":
        return mx.cpu()
    fault = _find_gpu_fault()
    if fault is None:
        return mx.gpu()
    if device == "gpu":
        raise SettingsError(f"DEVICE=gpu: {fault}; expected a working CUDA device, or DEVICE=cpu")
    if _has_cuda():
        warn(f"training on the CPU: {fault}")
    return mx.cpu()


def put(rows: NDArray[Any], device: mx.Context, chosen: NDArray[np.int64] | None = None) -> mx.nd.NDArray:
    """Copy rows to a device as float32, which is what MXNet's layers are made of.

    Some at a time: no second copy of a large dataset is made on the way.

    Args:
        rows: (n, ...) numbers.
        device: MXNet's context.
        chosen: indices of the rows to copy, all by default.
    """
    if chosen is None:
        chosen = np.arange(len(rows))
    copy = mx.nd.empty((len(chosen), *rows.shape[1:]), ctx=device)
    for start in range(0, len(chosen), _ROWS_AT_ONCE):
        some = chosen[start : start + _ROWS_AT_ONCE]
        copy[start : start + len(some)] = rows[some].astype(np.float32, copy=False)
    return copy


def _has_cuda() -> bool:
    is_enabled: bool = mx.runtime.Features().is_enabled("CUDA")
    return is_enabled


def _find_gpu_fault() -> str | None:
    if not _has_cuda():
        return "this MXNet is built without CUDA (package mxnet; mxnet-cu112 has it)"
    try:
        if mx.context.num_gpus() == 0:
            return "no CUDA device is visible"
        mx.nd.ones((1,), ctx=mx.gpu()).asnumpy()
    except mx.base.MXNetError as error:
        # A traceback of the library's own sources; the reason is its last line.
        return str(error).strip().splitlines()[-1].removeprefix("MXNetError: ")
    return None
