"""NVIDIA's driver and the cards that it lists, read before anything runs on one.

Also loads the driver's library for MXNet. `client.device` finds out whether a card computes.
"""

import ctypes
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedmx.errors import SettingsError

# The compute capabilities (major, minor) for which mxnet-cu112 1.9.1 has code. It has no PTX, which newer
# cards could translate.
_CODE = ((5, 0), (6, 0), (7, 0), (8, 0), (8, 6))
_LIBRARY = "libcuda.so.1"
_STUB = Path(sys.prefix, "lib", "cuda-stub", _LIBRARY)
# From cuda.h.
_MAJOR, _MINOR = 75, 76
_NO_DEVICE = 100
_NAME_BYTES = 256


class NoCardError(Exception):
    """No card can be used. The message is the reason; the caller decides what follows from it."""


@dataclass(frozen=True)
class Card:
    """A card that the driver lists, with its name and compute capability."""

    name: str
    capability: tuple[int, int]

    @property
    def is_supported(self) -> bool:
        """Whether MXNet has code for it. Code also runs on later minor versions of the same major one."""
        major, minor = self.capability
        return any(major == code[0] and minor >= code[1] for code in _CODE)

    def __str__(self) -> str:
        return f"{self.name} of compute capability {_dotted(self.capability)}"


@dataclass(frozen=True)
class Visible:
    """The cards that the driver lists, in its order, which MXNet uses too.

    Attributes:
        cards: may be empty.
        problem: the reason why there are none.
    """

    cards: tuple[Card, ...] = ()
    problem: str = "no CUDA device is visible"


@dataclass(frozen=True)
class Driver:
    """NVIDIA's driver: its library, or the problem that prevented loading it."""

    library: Any
    problem: str = ""


def load_driver(library: str = _LIBRARY, stub: Path = _STUB) -> Driver:
    """Load the driver's library, before MXNet's CUDA build, which is linked to it.

    Without a driver, MXNet gets a stub of the same soname (see cuda_stub.c). The stub is not on the loader's
    search path, so that it never hides a driver.

    Args:
        library: its soname.
        stub: exists in the image with CUDA only.
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
    """Return the cards that this process may use."""
    if driver.library is None:
        return Visible(problem=driver.problem)
    count = ctypes.c_int()
    try:
        _call(driver, "cuInit", 0)
        _call(driver, "cuDeviceGetCount", ctypes.byref(count))
        return Visible(tuple(_read_card(driver, index) for index in range(count.value)))
    except _DriverError as error:
        return Visible() if error.code == _NO_DEVICE else Visible(problem=str(error))


def choose_cards(*, has_cuda: bool, visible: Visible, gpu_index: tuple[int, ...]) -> list[int]:
    """Return the indices of the cards that a node may train on. Its partition chooses among several.

    Args:
        has_cuda: whether MXNet is built with CUDA.
        visible: the cards that the driver lists.
        gpu_index: GPU_INDEX; empty: all cards for which MXNet has code.

    Raises:
        NoCardError: no card can be used.
        SettingsError: there are cards, but none with the index GPU_INDEX.
    """
    if not has_cuda:
        raise NoCardError("this MXNet is built without CUDA; the package mxnet-cu112 has it")
    if not visible.cards:
        raise NoCardError(visible.problem)
    count = len(visible.cards)
    if max(gpu_index, default=0) >= count:
        raise SettingsError(
            f"GPU_INDEX={max(gpu_index)}: the number of visible GPUs is {count}; expected an index below it"
        )
    candidates = gpu_index or range(count)
    usable = [index for index in candidates if visible.cards[index].is_supported]
    # A card that was chosen is never replaced by another one, nor left out.
    if not usable or len(usable) < len(gpu_index):
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
