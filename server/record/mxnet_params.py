"""MXNet's `.params` file, written and read without MXNet; `Block.save_parameters` writes such a file too.

The format is that of MXNet 1.9.1 (`NDArray::Save` in its src/ndarray/ndarray.cc), little-endian: a file
header, the number of arrays, each array as a header and its raw values, the number of names, each name as a
length and UTF-8.
"""

import struct
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from flwr.app import Array

from fedmx import arrays
from fedmx.files import atomic_write

# The numbers of MXNet's type flags. It reads no other integers, though its enumeration has them.
TYPE_FLAGS = {
    "float32": 0,
    "float64": 1,
    "float16": 2,
    "uint8": 3,
    "int32": 4,
    "int8": 5,
    "int64": 6,
    "bool": 7,
}
_FILE_MAGIC, _RESERVED = 0x112, 0
_LEGACY_MAGIC, _NUMPY_MAGIC = 0xF993FAC9, 0xF993FACA
_DENSE = 0
_CPU, _CPU_INDEX = 1, 0


def save(record: Mapping[str, Array], path: Path) -> None:
    """Write arrays as MXNet's `.params` file, whole or not at all.

    Raises:
        DataError: it cannot be written.
    """
    with atomic_write(path) as file:
        for part in _parts(record):
            file.write(part)


def _parts(record: Mapping[str, Array]) -> Iterator[bytes | memoryview]:
    yield struct.pack("<QQQ", _FILE_MAGIC, _RESERVED, len(record))
    magic = _choose_magic(record)
    for array in record.values():
        values = arrays.view(array)
        shape = values.shape
        yield struct.pack(f"<Iii{len(shape)}q", magic, _DENSE, len(shape), *shape)
        yield struct.pack("<iii", _CPU, _CPU_INDEX, TYPE_FLAGS[values.dtype.name])
        yield arrays.raw_bytes(array)
    yield struct.pack("<Q", len(record))
    for name in record:
        encoded = name.encode()
        yield struct.pack("<Q", len(encoded)) + encoded


def _choose_magic(record: Mapping[str, Array]) -> int:
    # In MXNet's legacy semantics a size of 0 means an unknown one, and no dimensions an unknown shape: only
    # networks under numpy's semantics have such arrays. Each of the two refuses the other's magic number.
    is_numpy = any(
        0 in shape or not shape for shape in (arrays.view(array).shape for array in record.values())
    )
    return _NUMPY_MAGIC if is_numpy else _LEGACY_MAGIC


def parse(data: bytes) -> dict[str, Array]:
    """Parse the content of a `.params` file of MXNet 1.x: dense arrays with names.

    Raises:
        ValueError: it is truncated, damaged, or another kind of file.
    """
    reader = _Reader(data)
    if reader.read("<QQ")[0] != _FILE_MAGIC:
        raise ValueError("it is not a .params file of MXNet")
    (count,) = reader.read("<Q")
    # A wrong count ends at the end of the file: nothing is reserved for it.
    found = [_parse_array(reader, index) for index in range(count)]
    (named,) = reader.read("<Q")
    if named != count:
        raise ValueError(f"it has {count} arrays and {named} names")
    names = [_parse_name(reader) for _ in range(named)]
    if not reader.is_at_end:
        raise ValueError("it has bytes after its end")
    if len(set(names)) != len(names):
        raise ValueError("two of its arrays have the same name")
    return dict(zip(names, found, strict=True))


class _Reader:
    """Reads a file's content from its start to its end, and nothing beyond."""

    def __init__(self, data: bytes) -> None:
        self._data = memoryview(data)
        self._at = 0

    @property
    def is_at_end(self) -> bool:
        return self._at == len(self._data)

    def read(self, form: str) -> tuple[int, ...]:
        """Read numbers."""
        return struct.unpack(form, self.take(struct.calcsize(form)))

    def take(self, size: int) -> memoryview:
        """Consume bytes."""
        if size > len(self._data) - self._at:
            raise ValueError("it is truncated")
        self._at += size
        return self._data[self._at - size : self._at]


def _parse_array(reader: _Reader, index: int) -> Array:
    magic, storage, dimensions = reader.read("<Iii")
    if magic not in (_LEGACY_MAGIC, _NUMPY_MAGIC):
        raise ValueError(f"array {index} is damaged, or of an MXNet before 1.0")
    if storage != _DENSE:
        raise ValueError(f"array {index} is sparse, expected dense arrays")
    if not (0 if magic == _NUMPY_MAGIC else 1) <= dimensions <= arrays.MAX_DIMENSIONS:
        raise ValueError(f"array {index} has {dimensions} dimensions; expected an initialized array")
    shape = reader.read(f"<{dimensions}q")
    _, _, flag = reader.read("<iii")
    dtype = next((name for name, number in TYPE_FLAGS.items() if number == flag), None)
    if dtype is None:
        raise ValueError(f"array {index} is of type {flag}; expected one of {', '.join(TYPE_FLAGS)}")
    if min(shape, default=0) < 0:
        raise ValueError(f"array {index} has shape {shape}")
    raw = reader.take(arrays.byte_count(dtype, shape))
    return arrays.pack(np.frombuffer(raw, np.dtype(dtype).newbyteorder("<")).reshape(shape))


def _parse_name(reader: _Reader) -> str:
    (length,) = reader.read("<Q")
    return str(reader.take(length), "utf-8")
