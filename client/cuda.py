"""NVIDIA's driver and the cards it shows: what is known of them before anything is tried on one.

Loads the driver's library for MXNet too. Whether a card computes is `client.device`'s to find out.
"""

import ctypes
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedmx.errors import SettingsError

# What mxnet-cu112 1.9.1 has code for, as (major, minor); it has no PTX, which newer cards could translate.
_CODE = ((5, 0), (6, 0), (7, 0), (8, 0), (8, 6))
_LIBRARY = "libcuda.so.1"
_STUB = Path(sys.prefix, "lib", "cuda-stub", _LIBRARY)
# Of cuda.h.
_MAJOR, _MINOR = 75, 76
_NO_DEVICE = 100
_NAME_BYTES = 256


class NoCardError(Exception):
    """No card can be used, and why; the caller says what that means for the program."""


@dataclass(frozen=True)
class Card:
    """A card that the driver shows: its name and compute capability."""

    name: str
    capability: tuple[int, int]

    @property
    def is_supported(self) -> bool:
        """Whether MXNet has code for it: code runs on later minor versions of its major too."""
        major, minor = self.capability
        return any(major == code[0] and minor >= code[1] for code in _CODE)

    def __str__(self) -> str:
        return f"{self.name} of compute capability {_dotted(self.capability)}"


@dataclass(frozen=True)
class Visible:
    """The cards that the driver shows, in its order, which is MXNet's too; where there are none, why."""

    cards: tuple[Card, ...] = ()
    fault: str = "no CUDA device is visible"


@dataclass(frozen=True)
class Driver:
    """NVIDIA's driver: its library, or why that cannot be loaded."""

    library: Any
    fault: str = ""


def load_driver(library: str = _LIBRARY, stub: Path = _STUB) -> Driver:
    """Load the driver's library, before MXNet's CUDA build, which is linked to it.

    Where there is no driver, a stub of the same soname takes its place for MXNet (see cuda_stub.c). It is not
    where the loader looks, so that it never hides a driver.

    Args:
        library: its soname.
        stub: in the image with CUDA; elsewhere there is none.
    """
    try:
        return Driver(ctypes.CDLL(library, ctypes.RTLD_GLOBAL))
    except OSError as error:
        if stub.exists():
            ctypes.CDLL(str(stub), ctypes.RTLD_GLOBAL)
        return Driver(
            None, f"no NVIDIA driver ({error}); a container gets it from NVIDIA's container toolkit"
        )


def read_cards(driver: Driver) -> Visible:
    """Ask the driver for the cards that this process may use."""
    if driver.library is None:
        return Visible(fault=driver.fault)
    count = ctypes.c_int()
    try:
        _call(driver, "cuInit", 0)
        _call(driver, "cuDeviceGetCount", ctypes.byref(count))
        return Visible(tuple(_read_card(driver, index) for index in range(count.value)))
    except _DriverError as error:
        return Visible() if error.code == _NO_DEVICE else Visible(fault=str(error))


def choose_cards(*, has_cuda: bool, visible: Visible, gpu_index: int | None) -> list[int]:
    """Say which cards a node may train on, by index; which of several it takes is its partition's to say.

    Args:
        has_cuda: whether MXNet is built with CUDA.
        visible: what the driver shows.
        gpu_index: GPU_INDEX; None leaves out the cards that MXNet has no code for.

    Raises:
        NoCardError: none is left.
        SettingsError: GPU_INDEX is none of the cards that there are.
    """
    if not has_cuda:
        raise NoCardError("this MXNet is built without CUDA (package mxnet; mxnet-cu112 has it)")
    if not visible.cards:
        raise NoCardError(visible.fault)
    count = len(visible.cards)
    if gpu_index is not None and gpu_index >= count:
        raise SettingsError(
            f"GPU_INDEX={gpu_index}: expected an index below {count}, the number of visible GPUs"
        )
    candidates = range(count) if gpu_index is None else [gpu_index]
    usable = [index for index in candidates if visible.cards[index].is_supported]
    if not usable:
        found = ", ".join(f"GPU {index} is {visible.cards[index]}" for index in candidates)
        supported = ", ".join(map(_dotted, _CODE))
        raise NoCardError(f"{found}; MXNet supports {supported} and later minor versions of each")
    return usable


class _DriverError(Exception):
    def __init__(self, function: str, code: int, text: str) -> None:
        super().__init__(f"NVIDIA's driver does not work: {function}: {text} ({code})")
        self.code = code


def _read_card(driver: Driver, index: int) -> Card:
    device, major, minor = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
    name = ctypes.create_string_buffer(_NAME_BYTES)
    _call(driver, "cuDeviceGet", ctypes.byref(device), index)
    _call(driver, "cuDeviceGetName", name, _NAME_BYTES, device)
    _call(driver, "cuDeviceGetAttribute", ctypes.byref(major), _MAJOR, device)
    _call(driver, "cuDeviceGetAttribute", ctypes.byref(minor), _MINOR, device)
    return Card(name.value.decode(errors="replace"), (major.value, minor.value))


def _call(driver: Driver, function: str, *arguments: object) -> None:
    code = getattr(driver.library, function)(*arguments)
    if code:
        text = ctypes.c_char_p()
        driver.library.cuGetErrorString(code, ctypes.byref(text))
        raise _DriverError(function, code, (text.value or b"an unknown error").decode(errors="replace"))


def _dotted(version: tuple[int, int]) -> str:
    return "{}.{}".format(*version)
