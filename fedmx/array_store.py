"""Keeps the arrays of updates: in memory up to a budget, and the others in one spool file.

An update waits until all updates of its round have arrived, since only then is the total weight known. So
the memory of a round would grow with its nodes. Space is reserved when an array begins to arrive, and is free
again once nothing refers to the array.
"""

import math
import threading
import weakref
from pathlib import Path
from typing import Any

import numpy as np
from flwr.app import Array
from numpy.typing import NDArray

from fedmx.arrays import HeldArray, byte_count, view
from fedmx.spool import Region, Spool


class ArrayStore:
    """Stores arrays; threads may share it.

    Args:
        budget: bytes of arrays in memory.
        folder: where the spool file is; None: every array stays in memory.
    """

    def __init__(self, budget: float = math.inf, folder: Path | None = None) -> None:
        self._budget = budget if folder is not None else math.inf
        self._used = 0
        # Reentrant: the garbage collector may release an array while the lock is held. It may be one in
        # memory or in the file, so that two locks could be acquired in either order.
        self._lock = threading.RLock()
        self._spool = None if folder is None else Spool(folder, self._lock)

    def open(self, dtype: str, shape: tuple[int, ...]) -> "Slot":
        """Reserve space for an array whose bytes are to arrive.

        Raises:
            DataError: the spool file cannot be created.
            MemoryError: there is not so much memory.
        """
        size = byte_count(dtype, shape)
        with self._lock:
            if self._spool is not None and self._used + size > self._budget:
                return Slot(_SpooledSpace(self._spool, dtype, shape), size)
            self._used += size
        try:
            space = _MemorySpace(dtype, shape)
        except MemoryError:
            self._release(size)
            raise
        weakref.finalize(space.owner, self._release, size).atexit = False
        return Slot(space, size)

    def put(self, array: Array) -> Array:
        """Store a Flower `Array`; a `HeldArray` is returned as it is.

        Raises:
            DataError: it cannot be written to the spool file.
            ValueError: it is not a numpy array of numbers.
        """
        if isinstance(array, HeldArray):
            return array
        return self.copy(view(array))

    def copy(self, values: NDArray[np.generic]) -> Array:
        """Store a copy of values.

        Raises:
            DataError: they cannot be written to the spool file.
        """
        slot = self.open(values.dtype.name, values.shape)
        slot.write(_bytes_of(np.asarray(values, dtype=values.dtype.newbyteorder("<"), order="C")))
        return slot.close()

    def _release(self, size: int) -> None:
        with self._lock:
            self._used -= size


class Slot:
    """An array that is arriving.

    Attributes:
        left: bytes that are missing.
    """

    def __init__(self, space: "_MemorySpace | _SpooledSpace", size: int) -> None:
        self._space: _MemorySpace | _SpooledSpace | None = space
        self._size = size
        self.left = size

    def write(self, data: memoryview) -> None:
        """Add bytes, at most those that are missing.

        Raises:
            DataError: they cannot be written to the spool file.
        """
        assert self._space is not None  # noqa: S101 - for mypy: a closed slot is not written to
        self._space.write(self._size - self.left, data)
        self.left -= data.nbytes

    def close(self) -> HeldArray:
        """Return the array, which is complete."""
        assert self._space is not None  # noqa: S101 - for mypy: a slot is closed once
        array = self._space.to_array()
        self._space = None
        return array

    def discard(self) -> None:
        """Release the space of an array that is not needed."""
        self._space = None


class StoredArray(HeldArray):
    """An array in the spool file. Each access reads the file, so the values are in memory only while used.

    Args:
        region: where it is.
        dtype: of the values.
        shape: of the values.
    """

    # As that of its base class.
    __qualname__ = "Array"

    def __init__(self, region: Region, dtype: str, shape: tuple[int, ...]) -> None:
        self.__dict__["_region"] = region
        self.dtype = dtype
        self.shape = shape
        self.stype = "numpy.ndarray"

    @property
    def values(self) -> NDArray[np.generic]:
        """The values, read-only."""
        values = self._read(0, math.prod(self.shape)).reshape(self.shape)
        values.flags.writeable = False
        return values

    def slice(self, start: int, stop: int) -> NDArray[np.generic]:
        """Return some of the values in C order, without reading the others."""
        return self._read(start, stop)

    def numpy(self) -> NDArray[Any]:
        """Return the values, which may be written to."""
        return self._read(0, math.prod(self.shape)).reshape(self.shape)

    def _read(self, start: int, stop: int) -> NDArray[np.generic]:
        values: NDArray[np.generic] = np.empty(stop - start, self.dtype)
        region: Region = self.__dict__["_region"]
        region.read(start * values.itemsize, _bytes_of(values))
        return values


class _SpooledSpace:
    """Where an array arrives that goes to the spool file."""

    def __init__(self, spool: Spool, dtype: str, shape: tuple[int, ...]) -> None:
        self._dtype = dtype
        self._shape = shape
        self._region = spool.reserve(byte_count(dtype, shape))

    def write(self, offset: int, data: memoryview) -> None:
        self._region.write(offset, data)

    def to_array(self) -> HeldArray:
        return StoredArray(self._region, self._dtype, self._shape)


class _MemorySpace:
    """Where an array arrives that stays in memory.

    Attributes:
        owner: lives as long as the memory is used.
    """

    def __init__(self, dtype: str, shape: tuple[int, ...]) -> None:
        self.owner: NDArray[np.generic] = np.empty(shape, dtype)
        self._bytes = _bytes_of(self.owner)

    def write(self, offset: int, data: memoryview) -> None:
        self._bytes[offset : offset + data.nbytes] = data

    def to_array(self) -> HeldArray:
        return HeldArray(self.owner)


def _bytes_of(values: NDArray[np.generic]) -> memoryview:
    # A memoryview cannot cast an empty array, and one of `bytes` rejects every write, even an empty one.
    return values.reshape(-1).data.cast("B") if values.size else memoryview(bytearray())
