"""Finds the device to train on, and copies arrays to it."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from client.cuda import NoCardError, choose_cards, read_cards
from client.mx import driver, mx
from fedmx.errors import SettingsError
from fedmx.log import warn

_ROWS_AT_ONCE = 256


class Devices:
    """The devices that a node may train on; its partition chooses one of them.

    A card that a driver lists need not work, so each device is tried with an operation. It is tried only when
    it is chosen: a context costs some hundred megabytes of the card's memory, which other nodes may need.

    Args:
        candidates: MXNet's contexts, at least one.
        is_gpu_required: whether a device that does not work is an error. Otherwise a warning is logged and
            the CPU is used.

    Attributes:
        only: the device of every partition if there is only one candidate, else None.

    Raises:
        SettingsError: the only candidate is required and does not work.
    """

    def __init__(self, candidates: Sequence[mx.Context], *, is_gpu_required: bool = False) -> None:
        self._candidates = candidates
        self._is_gpu_required = is_gpu_required
        self._working: dict[mx.Context, mx.Context] = {}
        self.only: mx.Context | None = self.for_partition(0) if len(candidates) == 1 else None

    def for_partition(self, partition: int | None) -> mx.Context:
        """Return the device for a partition, or for a node's own data (None).

        Raises:
            SettingsError: it is required and does not work.
        """
        wanted = self._candidates[(partition or 0) % len(self._candidates)]
        if wanted not in self._working:
            self._working[wanted] = self._try(wanted)
        return self._working[wanted]

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


def find_devices(device: str, gpu_index: int | None) -> Devices:
    """Return the devices of DEVICE and GPU_INDEX.

    Args:
        device: `auto` (a GPU if one works, else the CPU with one warning), `cpu` or `gpu`.
        gpu_index: of the visible GPUs; None: all of them, one per partition.

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
    return Devices([mx.gpu(index) for index in cards], is_gpu_required=device == "gpu")


def put(rows: NDArray[Any], device: mx.Context, chosen: NDArray[np.int64] | None = None) -> mx.nd.NDArray:
    """Copy rows to a device as float32, the dtype of MXNet's layers.

    Copies a few rows at a time, so that a large dataset is not converted in memory as a whole.

    Args:
        rows: (n, ...) numbers.
        device: MXNet's context.
        chosen: the indices of the rows to copy; all by default.
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


def _refusal(reason: str) -> SettingsError:
    return SettingsError(f"DEVICE=gpu: {reason}; expected a working CUDA device, or DEVICE=cpu")


def _fall_back(reason: str) -> mx.Context:
    warn("training on the CPU", reason=reason)
    return mx.cpu()
