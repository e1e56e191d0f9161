"""Flower's `Array` seen as numpy without a copy, and the digest that names a model.

A Flower `Array` holds an npy file as bytes; its `dtype` and `shape` fields are claims beside it. Here the npy
header is compared with the size of the bytes before anything is believed.
"""

import hashlib
import io
import math
from collections.abc import Mapping

import numpy as np
from flwr.app import Array
from numpy.typing import NDArray

_NUMPY_STYPE = "numpy.ndarray"
DTYPES = frozenset(
    ("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
    + ("float16", "float32", "float64")
)


def view(array: Array) -> NDArray[np.generic]:
    """Look at an `Array`'s values in place, read-only.

    Raises:
        ValueError: the bytes are no npy file of numbers, or not as long as their header says.
    """
    if array.stype != _NUMPY_STYPE:
        raise ValueError(f"serialization {array.stype!r}, expected {_NUMPY_STYPE!r}")
    file = io.BytesIO(array.data)
    shape, is_fortran, dtype = _read_header(file)
    start, count = file.tell(), math.prod(shape)
    if dtype.name not in DTYPES or len(array.data) - start != count * dtype.itemsize:
        raise ValueError(f"{len(array.data) - start} bytes of data for {dtype} {shape}")
    values = np.frombuffer(array.data, dtype=dtype, count=count, offset=start)
    return values.reshape(shape, order="F" if is_fortran else "C")


def pack(values: NDArray[np.generic]) -> Array:
    """Make an `Array` from numpy values, with one copy of them (`Array(values)` makes two to three)."""
    values = np.ascontiguousarray(values).astype(values.dtype.newbyteorder("<"), copy=False)
    file = new_file(values.dtype.name, values.shape)
    file.write(memoryview(values.reshape(-1)).cast("B") if values.size else b"")
    return close_file(file, values.dtype.name, values.shape)


def new_file(dtype: str, shape: tuple[int, ...]) -> io.BytesIO:
    """Open an npy file in memory for these values: its header is written, its whole size is reserved."""
    file = io.BytesIO()
    kind = np.dtype(dtype)
    descr = np.lib.format.dtype_to_descr(kind)
    np.lib.format.write_array_header_1_0(file, {"descr": descr, "fortran_order": False, "shape": shape})
    start, size = file.tell(), math.prod(shape) * kind.itemsize
    if size:
        # Reserved at once, so that `getvalue` gives this very buffer instead of a copy.
        file.seek(start + size - 1)
        file.write(b"\0")
        file.seek(start)
    return file


def close_file(file: io.BytesIO, dtype: str, shape: tuple[int, ...]) -> Array:
    """Turn a filled npy file in memory into an `Array`."""
    return Array(dtype=dtype, shape=shape, stype=_NUMPY_STYPE, data=file.getvalue())


def raw_bytes(array: Array) -> memoryview:
    """Give the values as they travel: C order, little endian.

    Raises:
        ValueError: as `view`.
    """
    values = view(array)
    if not values.flags.c_contiguous or values.dtype.byteorder == ">":
        values = np.ascontiguousarray(values).astype(values.dtype.newbyteorder("<"), copy=False)
    return memoryview(values.reshape(-1)).cast("B") if values.size else memoryview(b"")


def sha256(arrays: Mapping[str, Array]) -> str:
    """Name a set of arrays: SHA-256 over name, dtype, shape and bytes of each, in name order."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        values = view(arrays[name])
        digest.update(f"{name}\0{values.dtype.name}\0{values.shape}\0".encode())
        digest.update(raw_bytes(arrays[name]))
    return digest.hexdigest()


def _read_header(file: io.BytesIO) -> tuple[tuple[int, ...], bool, np.dtype[np.generic]]:
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        return np.lib.format.read_array_header_1_0(file)
    if version == (2, 0):
        return np.lib.format.read_array_header_2_0(file)
    raise ValueError(f"npy version {version}, expected 1.0 or 2.0")
