"""MXNet's `.params` file, written without MXNet: `Block.load_parameters` and `mxnet.nd.load` read it.

The format is that of MXNet 1.9.1 (`NDArray::Save` in its src/ndarray/ndarray.cc), little-endian: a file
header, the number of arrays, each array as a header and its raw values, the number of names, each name as a
length and UTF-8.
"""

import struct
from collections.abc import Iterator, Mapping
from pathlib import Path

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
