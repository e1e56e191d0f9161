"""Which device to train on, with a clear word when it is not there, and how arrays get onto it."""

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
    """The devices that a node may train on, of which its partition takes one.

    One counts when it has carried out an operation: a driver that lists a card is no proof. It is tried when
    it is known which: a context costs some hundred megabytes on the card, which others may be training on.

    Args:
        candidates: MXNet's contexts, at least one.
        is_gpu_required: whether one that does not work is an error, rather than a warning and the CPU.

    Attributes:
        only: the device of every partition, where there is but one.

    Raises:
        SettingsError: there is but one, it is required, and it does not work.
    """

    def __init__(self, candidates: Sequence[mx.Context], *, is_gpu_required: bool = False) -> None:
        self._candidates = candidates
        self._is_gpu_required = is_gpu_required
        self._working: dict[mx.Context, mx.Context] = {}
        self.only: mx.Context | None = self.for_partition(0) if len(candidates) == 1 else None

    def for_partition(self, partition: int | None) -> mx.Context:
        """Give the device for a partition, or for data of the node's own (None).

        Raises:
            SettingsError: it is required, and does not work.
        """
        wanted = self._candidates[(partition or 0) % len(self._candidates)]
        if wanted not in self._working:
            self._working[wanted] = self._try(wanted)
        return self._working[wanted]

    def _try(self, device: mx.Context) -> mx.Context:
        try:
            mx.nd.ones((1,), ctx=device).asnumpy()
        except mx.base.MXNetError as error:
            # A traceback of the library's own sources; the reason is its last line.
            reason = str(error).strip().splitlines()[-1].removeprefix("MXNetError: ")
            if self._is_gpu_required:
                raise _refusal(f"{device}: {reason}") from None
            return _fall_back(f"{device}: {reason}")
        return device


def find_devices(device: str, gpu_index: int | None) -> Devices:
    """Find what DEVICE and GPU_INDEX name.

    Args:
        device: `auto` (a GPU if one works, else the CPU with one warning), `cpu` or `gpu`.
        gpu_index: of the visible GPUs; None: all of them, one a partition.

    Raises:
        SettingsError: `gpu`, and none works; or there are GPUs, and GPU_INDEX is none of them.
    """
    if device == "cpu":
        return Devices([mx.cpu()])
    has_cuda, visible = _has_cuda(), read_cards(driver)
    try:
        cards = choose_cards(has_cuda=has_cuda, visible=visible, gpu_index=gpu_index)
    except NoCardError as error:
        if device == "gpu":
            raise _refusal(str(error)) from None
        # Nothing is amiss where neither the package nor the machine speaks of CUDA.
        is_expected = not has_cuda and not visible.cards
        return Devices([mx.cpu() if is_expected else _fall_back(str(error))])
    return Devices([mx.gpu(index) for index in cards], is_gpu_required=device == "gpu")


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


def _refusal(reason: str) -> SettingsError:
    return SettingsError(f"DEVICE=gpu: {reason}; expected a working CUDA device, or DEVICE=cpu")


def _fall_back(reason: str) -> mx.Context:
    warn("training on the CPU", reason=reason)
    return mx.cpu()
