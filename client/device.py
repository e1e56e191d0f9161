"""Finds the device to train on, and copies arrays to it."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from client.cuda import NoCardError, choose_cards, read_cards
from client.mx import driver, mx
from fedmx.errors import SettingsError
from fedmx.log import warn

_ROWS_AT_ONCE = 256
_INTEGERS = ("int8", "uint8", "int32", "int64")


class Devices:
    """The devices that a node may train on; its partition chooses one of them, or it trains on all at once.

    A card that a driver lists need not work, so each device is tried with an operation. It is tried only when
    it is chosen: a context costs some hundred megabytes of the card's memory, which other nodes may need.

    Args:
        candidates: MXNet's contexts, at least one.
        is_joint: whether a node trains on all candidates that work at once.
        is_gpu_required: whether a device that does not work is an error. Otherwise a warning is logged and
            the CPU is used.

    Attributes:
        only: the devices of every partition; empty if the partition chooses among several.

    Raises:
        SettingsError: the only candidate is required and does not work.
    """

    def __init__(
        self, candidates: Sequence[mx.Context], *, is_joint: bool = False, is_gpu_required: bool = False
    ) -> None:
        self._groups = [tuple(candidates)] if is_joint else [(candidate,) for candidate in candidates]
        self._is_gpu_required = is_gpu_required
        self._working: dict[mx.Context, mx.Context] = {}
        self.only: tuple[mx.Context, ...] = self.for_partition(0) if len(self._groups) == 1 else ()

    def for_partition(self, partition: int | None) -> tuple[mx.Context, ...]:
        """Return the devices for a partition, or for a node's own data (None).

        Raises:
            SettingsError: it is required and does not work.
        """
        wanted = self._groups[(partition or 0) % len(self._groups)]
        for device in wanted:
            if device not in self._working:
                self._working[device] = self._try(device)
        working = tuple(device for device in wanted if self._working[device] == device)
        return working or (self._working[wanted[0]],)

    def _try(self, device: mx.Context) -> mx.Context:
        try:
            mx.nd.ones((1,), ctx=device).asnumpy()
        except mx.base.MXNetError as error:
            # The message is a traceback of MXNet's C++ code whose last line is the reason.
            reason = str(error).strip().splitlines()[-1].removeprefix("MXNetError: ")
            if self._is_gpu_required:
                raise _refusal(f"{device}: {reason}") from None
            return _fall_back(f"{device}: {reason}")
        return device


def find_devices(device: str, gpu_index: tuple[int, ...]) -> Devices:
    """Return the devices of DEVICE and GPU_INDEX.

    Args:
        device: `auto` (a GPU if one works, else the CPU with one warning), `cpu` or `gpu`.
        gpu_index: indices of visible GPUs, to use at once; empty: all GPUs, of which a partition uses one.

    Raises:
        SettingsError: `gpu` and no GPU works, or there are GPUs but none with the index GPU_INDEX.
    """
    if device == "cpu":
        return Devices([mx.cpu()])
    has_cuda, visible = _has_cuda(), read_cards(driver)
    try:
        cards = choose_cards(has_cuda=has_cuda, visible=visible, gpu_index=gpu_index)
    except NoCardError as error:
        if device == "gpu":
            raise _refusal(str(error)) from None
        # Without CUDA in the package and without a card, the CPU is what the user expects: no warning.
        is_expected = not has_cuda and not visible.cards
        return Devices([mx.cpu() if is_expected else _fall_back(str(error))])
    is_gpu_required = device == "gpu"
    return Devices(
        [mx.gpu(index) for index in cards], is_joint=len(gpu_index) > 1, is_gpu_required=is_gpu_required
    )


def put(
    rows: NDArray[Any],
    device: mx.Context,
    chosen: NDArray[np.int64] | None = None,
    dtype: DTypeLike | None = None,
) -> mx.nd.NDArray:
    """Copy rows to a device.

    Copies a few rows at a time, so that a large dataset is not converted in memory as a whole.

    Args:
        rows: (n, ...) numbers.
        device: MXNet's context.
        chosen: the indices of the rows to copy; all by default.
        dtype: dtype of the copy; by default, that of `choose_dtype`.
    """
    if chosen is None:
        chosen = np.arange(len(rows))
    dtype = dtype or choose_dtype(rows.dtype)
    copy = mx.nd.empty((len(chosen), *rows.shape[1:]), ctx=device, dtype=dtype)
    for start in range(0, len(chosen), _ROWS_AT_ONCE):
        some = chosen[start : start + _ROWS_AT_ONCE]
        copy[start : start + len(some)] = rows[some].astype(dtype, copy=False)
    return copy


def as_task_array(array: mx.nd.NDArray) -> mx.nd.NDArray:
    """Return the array in the kind that the task computes with: MXNet's numpy array after `npx.set_np()`."""
    return array.as_np_ndarray() if mx.util.is_np_array() else array


def choose_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the dtype in which MXNet computes with an array: the array's own if MXNet supports it.

    float64 becomes float32, as in `mx.nd.array`: numpy's default dtype is rarely a choice, and MXNet's layers
    compute in float32. bool becomes float32 as well, since layers do not compute with it. Other integers
    become int64, which represents all but the upper half of uint64.
    """
    if dtype.kind in "bf" and dtype.name != "float16":
        return np.dtype(np.float32)
    known = dtype.kind == "f" or dtype.name in _INTEGERS
    return dtype.newbyteorder("=") if known else np.dtype(np.int64)


def _has_cuda() -> bool:
    is_enabled: bool = mx.runtime.Features().is_enabled("CUDA")
    return is_enabled


def _refusal(reason: str) -> SettingsError:
    return SettingsError(f"DEVICE=gpu: {reason}; expected a working CUDA device, or DEVICE=cpu")


def _fall_back(reason: str) -> mx.Context:
    warn("training on the CPU", reason=reason)
    return mx.cpu()
