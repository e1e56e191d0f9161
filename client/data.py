"""IDX files -> arrays: owns the IDX format, and what a checked dataset is.

Which part of a dataset a node works on is `client.partition`'s; what a network makes of it is the task's.

An IDX file is two zero bytes, a type code, the number of dimensions, each dimension as a big-endian uint32,
and then the elements in row-major order, big-endian. A file named `.gz` is the same, compressed.
"""

import gzip
import hashlib
import math
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedIOBase
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from client.mnist_files import FOUR_FILES, find_four
from fedmx.errors import DataError
from fedmx.files import expected_readable

_IDX_TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_MAX_DIMENSIONS = 32  # numpy's own limit
_IMAGE_DIMENSIONS = 3
_START_BYTES = 4
_GZIP_MAGIC = b"\x1f\x8b"
_CHUNK_BYTES = 1 << 20
# Up to here float32, which all numbers become on the device, holds every integer.
MAX_EXACT = 2**24
_NUMBERS = "?bBhHiIlLqQefd"  # not long double: it is padded with bytes of no meaning, and MXNet has none
_COPY_AGAIN = "copy the file again from where it came"


@dataclass(frozen=True)
class Dataset:
    """Examples and their labels, row by row; made by `make_dataset`, which checks them.

    Attributes:
        examples: (n, ...) of any numeric dtype.
        labels: (n, ...), one row an example: int64 if (n,) and all whole, since those pass for class numbers
            (whole floats beyond `MAX_EXACT` do not); else in the dtype they came in, such as targets float32
            (n,) or masks uint8 (n, rows, columns).
    """

    examples: NDArray[Any]
    labels: NDArray[Any]

    def __len__(self) -> int:
        """Give the number of examples."""
        return len(self.labels)


def make_dataset(name: str, examples: NDArray[Any], labels: NDArray[Any]) -> Dataset:
    """Check that examples and labels make a dataset, and put them together.

    Args:
        name: what the dataset is called in an error, such as `training set`.
        examples: (n, ...) numbers; kept as they are.
        labels: (n, ...) numbers; class numbers in any dtype, as many loaders give them as float32.

    Raises:
        DataError: if one is not a numpy array of numbers, the counts differ, or there is nothing in them.
    """
    _check_rows(name, "examples", examples)
    _check_rows(name, "labels", labels)
    count = len(examples)
    if count != len(labels):
        raise DataError(f"{name}: {count} examples, but {len(labels)} labels: expected one label an example")
    if labels.ndim > 1:
        return Dataset(examples, labels)
    # NaN, infinity and what int64 cannot hold become other numbers in the cast; the comparison finds them.
    with np.errstate(invalid="ignore"):
        whole = labels.astype(np.int64)
    are_classes = (whole == labels).all() and (labels.dtype.kind in "bui" or abs(labels).max() <= MAX_EXACT)
    return Dataset(examples, whole if are_classes else labels)


def are_class_numbers(labels: NDArray[Any]) -> bool:
    """Tell whether a dataset's labels are its examples' classes, int64 (n,)."""
    return labels.ndim == 1 and labels.dtype == np.int64


def labels_sha256(train: Dataset, test: Dataset) -> str:
    """Digest the labels of both sets, which tells whether two nodes hold the same shared dataset.

    Independent of byte order and, for class numbers, of the stored dtype; others' dtype and shape count too.

    Returns:
        SHA-256 in hexadecimal.
    """
    digest = hashlib.sha256()
    for labels in (train.labels, test.labels):
        dtype = labels.dtype.newbyteorder("<")
        count, form = len(labels).to_bytes(8, "little"), f"{dtype.str} {labels.shape}".encode()
        # One goes first, so that no label changes sides unseen. A count's eighth byte is zero, a form's not.
        digest.update(count if are_class_numbers(labels) else form)
        digest.update(np.ascontiguousarray(labels, dtype).data)
    return digest.hexdigest()


def read_idx_dataset(data_dir: Path) -> tuple[Dataset, Dataset]:
    """Read a training and a test set from four files, which `client.mnist_files` finds by their names.

    Each file may be plain or, with `.gz` at its name's end, compressed.

    Returns:
        The training and the test set: images uint8 (n, rows, columns), labels int64 (n,).

    Raises:
        DataError: if a file is missing, unreadable or damaged, or the files do not belong together.
    """
    with _explaining(f"DATA_DIR={data_dir}"):
        if not data_dir.exists():
            raise DataError(f"DATA_DIR={data_dir}: no such folder: {FOUR_FILES}")
        if not data_dir.is_dir():
            raise DataError(f"DATA_DIR={data_dir}: not a folder: expected a folder with the four IDX files")
        # All names before any content: a missing file is named at once, not after a second of unpacking.
        paths = find_four(data_dir)
    train = _read_pair("training set", paths[0], paths[1])
    test = _read_pair("test set", paths[2], paths[3])
    train_shape, test_shape = train.examples.shape[1:], test.examples.shape[1:]
    if train_shape != test_shape:
        raise DataError(
            f"{paths[0]} has images of shape {train_shape}, but {paths[2]} of {test_shape}:"
            " expected one shape"
        )
    return train, test


def read_idx(path: Path) -> NDArray[Any]:
    """Read one IDX file, compressed if its name ends with `.gz`.

    Memory follows what the file holds, never what its header claims.

    Returns:
        An array in the machine's byte order, of dtype uint8, int8, int16, int32, float32 or float64 and of
        the shape that the header declares.

    Raises:
        DataError: if the file cannot be read, or is not exactly one whole IDX file.
    """
    with _explaining(str(path)), path.open("rb") as file:
        magic = file.peek(len(_GZIP_MAGIC))[: len(_GZIP_MAGIC)]
        if not magic:
            raise DataError(f"{path}: the file is empty: {_COPY_AGAIN}")
        is_compressed = magic == _GZIP_MAGIC
        if path.suffix == ".gz" and not is_compressed:
            raise DataError(f"{path}: not gzip data: {_COPY_AGAIN}, or take .gz off its name")
        if is_compressed and path.suffix != ".gz":
            raise DataError(f"{path}: gzip data: unpack it, or put .gz at its name's end")
        stream = gzip.GzipFile(fileobj=file) if is_compressed else file
        dtype, shape = _read_header(path, stream)
        payload = _read_payload(path, stream, dtype, shape)
    array = np.frombuffer(payload, dtype).reshape(shape)
    return array.astype(dtype.newbyteorder("="), copy=False)


def _check_rows(name: str, kind: str, array: NDArray[Any]) -> None:
    # A task is someone else's code: it may hand over lists, or arrays of MXNet, whose conversion fails here.
    if not isinstance(array, np.ndarray):
        raise DataError(f"{name}: {kind} are of type {type(array).__name__}: expected a numpy array")
    if array.dtype.char not in _NUMBERS:
        raise DataError(f"{name}: {kind} are of dtype {array.dtype}: expected numbers of at most 64 bits")
    if not array.ndim:
        raise DataError(f"{name}: {kind} have shape (): expected one row an example")
    if not array.size:
        raise DataError(f"{name}: empty, {kind} have shape {array.shape}: expected at least one")


def _read_pair(name: str, images_path: Path, labels_path: Path) -> Dataset:
    images = _read_ubyte(images_path, _IMAGE_DIMENSIONS)
    labels = _read_ubyte(labels_path, 1)
    if len(images) != len(labels):
        raise DataError(
            f"{images_path} has {len(images)} images, but {labels_path} has {len(labels)} labels:"
            " expected one label an image"
        )
    return make_dataset(name, images, labels)


def _read_ubyte(path: Path, dimensions: int) -> NDArray[np.uint8]:
    array = read_idx(path)
    if array.dtype != np.uint8 or array.ndim != dimensions:
        raise DataError(
            f"{path}: holds {array.dtype} of {array.ndim} dimensions: expected uint8 of {dimensions},"
            " as its name says"
        )
    return array


def _read_header(path: Path, stream: BufferedIOBase) -> tuple[np.dtype[Any], tuple[int, ...]]:
    start = stream.read(_START_BYTES)
    if len(start) < _START_BYTES or start[:2] != b"\0\0" or start[2] not in _IDX_TYPES:
        raise DataError(
            f"{path}: starts with {start.hex(' ') or 'nothing'}: expected an IDX file"
            f" (00 00, a type of {', '.join(f'{code:02x}' for code in _IDX_TYPES)}, number of dimensions)"
        )
    count = start[3]
    if not 1 <= count <= _MAX_DIMENSIONS:
        raise DataError(f"{path}: declares {count} dimensions: expected 1 to {_MAX_DIMENSIONS}")
    sizes = stream.read(4 * count)
    if len(sizes) < 4 * count:
        raise DataError(f"{path}: ends within its header: {_COPY_AGAIN}")
    shape = tuple(int(size) for size in np.frombuffer(sizes, ">u4"))
    # With a zero among them, the others could be of any size and the payload would still be right.
    if 0 in shape:
        raise DataError(f"{path}: declares no elements, shape {shape}: expected at least one")
    return np.dtype(_IDX_TYPES[start[2]]), shape


def _read_payload(
    path: Path, stream: BufferedIOBase, dtype: np.dtype[Any], shape: tuple[int, ...]
) -> bytearray:
    expected = math.prod(shape) * dtype.itemsize
    payload = bytearray()
    # A chunk at a time, since one read of the declared size would allocate it. The read at the end, which
    # gives nothing, is the one in which gzip compares its checksum.
    while len(payload) <= expected and (chunk := stream.read(_CHUNK_BYTES)):
        payload += chunk
    if len(payload) == expected:
        return payload
    found = f"{len(payload)} bytes" if len(payload) < expected else "more"
    raise DataError(
        f"{path}: holds {found} after its header, which declares {expected} bytes"
        f" ({dtype.newbyteorder('=')} {shape}): {_COPY_AGAIN}"
    )


@contextmanager
def _explaining(name: str) -> Iterator[None]:
    """Turn what opening and unpacking may raise into one line that starts with a name."""
    try:
        yield
    except (gzip.BadGzipFile, zlib.error, EOFError) as error:
        # gzip says the same of a file that never was gzip, which read_idx has ruled out before.
        reason = "data after the end" if "Not a gzipped file" in str(error) else str(error)
        raise DataError(f"{name}: damaged gzip data ({reason}): {_COPY_AGAIN}") from error
    except OSError as error:
        expected = expected_readable() if isinstance(error, PermissionError) else "expected a readable one"
        raise DataError(f"{name}: cannot be read ({error.strerror}): {expected}") from error
