"""Flower's `Array` as numpy without a copy, and arrays that stay in memory as numpy.

A Flower `Array` holds a whole npy file as bytes, and states `dtype` and `shape` once more beside it; neither
is used before the header agrees with the number of bytes. A regular expression parses the header, which is
not trusted: it accepts what numpy writes and nothing else. numpy itself evaluates it as a Python literal:
hostile bytes make that fail in many ways, and two threads cannot do it at once before Python 3.11.9.

A `HeldArray` has no npy file until somebody asks for one. Build records of them with `make_record`.
"""

import hashlib
import io
import math
import re
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from blake3 import blake3
from flwr.app import Array, ArrayRecord
from numpy.typing import NDArray

_NUMPY_STYPE = "numpy.ndarray"
_INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
DTYPES = frozenset(("bool", *_INTEGERS, "float16", "float32", "float64"))
# The limit of numpy 1.26.
MAX_DIMENSIONS = 32
# numpy refuses larger shapes, even of arrays that are empty.
_MAX_ADDRESSABLE = 2**63
_HEADER = re.compile(
    rb"\{'descr': '([<>|](?:b1|[iu][1248]|f[248]))', 'fortran_order': (True|False),"
    rb" 'shape': \((|[0-9]+,|[0-9]+(?:, [0-9]+)+)\), \} *\n"
)
# How many bytes hold the header's length, in the npy versions 1.0 and 2.0.
_LENGTH_BYTES = {b"\x93NUMPY\x01\x00": 2, b"\x93NUMPY\x02\x00": 4}
_MAX_HEADER_BYTES = 4096

# Of two arrays that training changed, the first values differ.
_FIRST_BYTES = 4096

_Order = Literal["C", "F"]


class HeldArray(Array):
    """An `Array` whose values are in memory as numpy.

    Args:
        values: contiguous in C order, little endian; they become read-only and are not copied.
    """

    # Flower's engines write the name of an object's class into its message, and build the object that it
    # names at the other end (flwr/supercore/inflatable/inflatable_object.py).
    __qualname__ = "Array"

    def __init__(self, values: NDArray[np.generic]) -> None:
        values.flags.writeable = False
        # Flower's own __init__ serializes the values.
        self.__dict__["_values"] = values
        self.dtype = values.dtype.name
        self.shape = values.shape
        self.stype = _NUMPY_STYPE

    @property
    def values(self) -> NDArray[np.generic]:
        """The values, read-only."""
        held: NDArray[np.generic] = self.__dict__["_values"]
        return held

    @property
    def data(self) -> bytes:  # type: ignore[override]  # Flower's is an attribute
        """The npy file, which is built at each access."""
        file = io.BytesIO()
        header = {"descr": np.dtype(self.dtype).str, "fortran_order": False, "shape": self.shape}
        np.lib.format.write_array_header_1_0(file, header)  # type: ignore[no-untyped-call]
        file.write(_as_sent(self.values))
        return file.getvalue()

    def numpy(self) -> NDArray[Any]:
        """Return a copy of the values, which Flower's strategies write to."""
        return self.values.copy()

    def __eq__(self, other: object) -> bool:
        """Whether the other array has the same dtype, shape and bytes."""
        return are_equal(self, other) if isinstance(other, Array) else NotImplemented

    __hash__ = None  # type: ignore[assignment]  # as Flower's

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the values, which Ray sends without a copy."""
        # By a function: under the name of its class, pickle would find Flower's class.
        return pack, (self.values,)


def byte_count(dtype: str, shape: tuple[int, ...]) -> int:
    """Return the number of bytes of an array's values.

    Raises:
        ValueError: the dtype is not of numbers, or numpy cannot hold the shape.
    """
    if dtype not in DTYPES:
        raise ValueError(f"dtype {dtype[:20]!r}, expected numbers or bool")
    item_bytes = np.dtype(dtype).itemsize
    if len(shape) > MAX_DIMENSIONS:
        raise ValueError(f"{len(shape)} dimensions, expected at most {MAX_DIMENSIONS}")
    if math.prod(max(size, 1) for size in shape) * item_bytes >= _MAX_ADDRESSABLE:
        raise ValueError(f"shape {shape}, expected one that fits in memory")
    return math.prod(shape) * item_bytes


def view(array: Array) -> NDArray[np.generic]:
    """Return an `Array`'s values without a copy, read-only.

    Raises:
        ValueError: the bytes are not an npy file of numbers, or not as long as its header says.
    """
    if isinstance(array, HeldArray):
        return array.values
    if array.stype != _NUMPY_STYPE:
        raise ValueError(f"serialization {array.stype!r}, expected {_NUMPY_STYPE!r}")
    return view_npy(array.data)


def view_npy(data: bytes | bytearray) -> NDArray[np.generic]:
    """Return the values of an npy file without a copy; those of a bytearray can be written to.

    Raises:
        ValueError: the bytes are not an npy file of numbers, or not as long as its header says.
    """
    start, dtype, shape, order = _read_header(bytes(data[:_MAX_HEADER_BYTES]))
    if len(data) - start != byte_count(dtype.name, shape):
        raise ValueError(f"{len(data) - start} bytes of data for {dtype} {shape}")
    values = np.frombuffer(data, dtype=dtype, count=math.prod(shape), offset=start)
    return values.reshape(shape, order=order)


def pack(values: NDArray[np.generic]) -> Array:
    """Return an `Array` of numpy values, which the caller no longer writes to.

    They are copied only if they are not contiguous or not little endian; `Array(values)` makes two or three
    copies.
    """
    # `ascontiguousarray` would turn a scalar into an array of one dimension.
    return HeldArray(np.asarray(values, dtype=values.dtype.newbyteorder("<"), order="C"))


def hold(array: Array) -> Array:
    """Return an array as one whose values are in memory as numpy; a Flower `Array` is not copied.

    Raises:
        ValueError: as in `view`.
    """
    # The values of a subclass are in memory only while they are used.
    return array if type(array) is HeldArray else pack(view(array))


def make_record(named: Mapping[str, Array]) -> ArrayRecord:
    """Return a record of these arrays themselves; `ArrayRecord(named)` copies each of them."""
    record = ArrayRecord()
    for name, array in named.items():
        record[name] = array
    return record


def digest(array: Array) -> bytes:
    """Return an array's digest: BLAKE3 over dtype, shape and bytes. A `HeldArray` keeps it."""
    known: bytes | None = array.__dict__.get("_digest")
    if known is None:
        values = view(array)
        known = blake3(f"{values.dtype.name}\0{values.shape}\0".encode()).update(_as_sent(values)).digest()
        if isinstance(array, HeldArray):
            set_digest(array, known)
    return known


def set_digest(array: Array, known: bytes) -> None:
    """Set an array's digest, which is then not computed."""
    array.__dict__["_digest"] = known


def are_equal(one: Array, other: Array) -> bool:
    """Return whether two arrays have the same dtype, shape and bytes: -0.0 is not 0.0, NaN equals itself."""
    if one is other:
        return True
    first, second = view(one), view(other)
    if first.dtype != second.dtype or first.shape != second.shape:
        return False
    sent, also = _as_sent(first), _as_sent(second)
    if sent[:_FIRST_BYTES] != also[:_FIRST_BYTES]:
        return False
    # As integers of the values' size: numpy needs a byte of memory for each comparison.
    word = f"u{first.itemsize}"
    return bool(np.array_equal(np.frombuffer(sent, word), np.frombuffer(also, word)))


def raw_bytes(array: Array) -> memoryview:
    """Return the values as they are sent: in C order, little endian.

    Raises:
        ValueError: as in `view`.
    """
    return _as_sent(view(array))


def sha256(arrays: Mapping[str, Array]) -> str:
    """Return a model's digest: SHA-256 over name, dtype, shape and bytes of each array, in name order."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        values = view(arrays[name])
        digest.update(f"{name}\0{values.dtype.name}\0{values.shape}\0".encode())
        digest.update(raw_bytes(arrays[name]))
    return digest.hexdigest()


def _as_sent(values: NDArray[np.generic]) -> memoryview:
    """Return the bytes in C order and little endian, without a copy if they are so already."""
    values = np.asarray(values, dtype=values.dtype.newbyteorder("<"), order="C")
    # A memoryview cannot cast an empty array.
    return values.reshape(-1).data.cast("B") if values.size else memoryview(b"")


def _read_header(head: bytes) -> tuple[int, np.dtype[np.generic], tuple[int, ...], _Order]:
    """Parse the npy header at the start of a file: where the values start, their dtype, shape and order."""
    length_bytes = _LENGTH_BYTES.get(head[:8], 0)
    start = 8 + length_bytes + int.from_bytes(head[8 : 8 + length_bytes], "little")
    found = _HEADER.fullmatch(head, 8 + length_bytes, start)
    if found is None or found.end() != start:
        raise ValueError("not an npy file of numbers")
    descr, is_fortran, sizes = found.groups()
    shape = tuple(int(size) for size in sizes.split(b",") if size)
    return start, np.dtype(descr.decode()), shape, "F" if is_fortran == b"True" else "C"
