"""Reads a dataset in MNIST's form: four IDX files with images and labels, for training and for testing.

An IDX file is two zero bytes, a type code (08: uint8), the number of dimensions, each dimension as a
big-endian uint32, and then the elements. A file whose name ends in `.gz` is compressed.
"""

import gzip
import math
import re
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from client.data.dataset import Dataset, make_dataset
from fedmx.errors import DataError
from fedmx.files import expected_readable

# MNIST's own names. Other datasets write `.idx3`, `test` for `t10k`, or put the dataset's name in front.
_NAME = re.compile(
    r"(?P<dataset>(?:.+[-_.])?)(?P<part>train|t10k|test)-(?P<kind>images[-.]idx3|labels[-.]idx1)-ubyte(?:\.gz)?"
)
_FILES = ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")
_EXPECTED = "expected the four files of data/mnist/README.md"


def read_idx_dataset(data_dir: Path | str) -> tuple[Dataset, Dataset]:
    """Read the training and the test set of a folder.

    Returns:
        Both sets: images uint8 (n, rows, columns), labels int64 (n,).

    Raises:
        DataError: a file is missing, unreadable or damaged, or the files do not belong together.
    """
    data_dir = Path(data_dir)
    try:
        names = sorted(path.name for path in data_dir.iterdir() if path.is_file())
    except OSError as error:
        expected = expected_readable() if isinstance(error, PermissionError) else _EXPECTED
        raise DataError(f"DATA_DIR={data_dir}: cannot be read ({error.strerror}); {expected}") from error
    # All names before any content: a missing file is an error at once, not after a second of unpacking.
    paths = _find_files(data_dir, names)
    train = _read_set("training set", paths[0], paths[1])
    test = _read_set("test set", paths[2], paths[3])
    train_shape, test_shape = train.examples.shape[1:], test.examples.shape[1:]
    if train_shape != test_shape:
        raise DataError(
            f"{paths[0]} has images of shape {train_shape}, but {paths[2]} of {test_shape};"
            " expected the same shape"
        )
    return train, test


def _find_files(data_dir: Path, names: list[str]) -> list[Path]:
    """Return the four files. MNIST's own names come before others, a plain file before a compressed one."""
    matches = [match for match in map(_NAME.fullmatch, names) if match]
    datasets = {match["dataset"] for match in matches}
    if len(datasets) > 1 and "" not in datasets:
        found = ", ".join(sorted(dataset.rstrip("-_.") for dataset in datasets))
        raise DataError(
            f"DATA_DIR={data_dir}: files of {len(datasets)} datasets ({found}); expected one dataset"
        )
    own = min(datasets, default="")
    files: dict[str, set[str]] = {file: set() for file in _FILES}
    for match in matches:
        if match["dataset"] == own:
            part = match["part"].replace("test", "t10k")
            files[f"{part}-{match['kind'].replace('.', '-')}"].add(match[0].removesuffix(".gz"))
    return [data_dir / _choose(data_dir, names, file, found) for file, found in files.items()]


def _choose(data_dir: Path, names: list[str], file: str, found: set[str]) -> str:
    if not found:
        raise DataError(f"DATA_DIR={data_dir}: {file}-ubyte or {file}-ubyte.gz not found; {_EXPECTED}")
    if len(found) > 1:
        raise DataError(
            f"DATA_DIR={data_dir}: {len(found)} files for {file}-ubyte ({', '.join(sorted(found))});"
            " expected one of them"
        )
    (name,) = found
    return name if name in names else f"{name}.gz"


def _read_set(name: str, images_path: Path, labels_path: Path) -> Dataset:
    images = read_idx(images_path, 3)
    labels = read_idx(labels_path, 1)
    if len(images) != len(labels):
        raise DataError(
            f"{images_path} has {len(images)} images, but {labels_path} has {len(labels)} labels;"
            " expected one label per image"
        )
    return make_dataset(name, images, labels)


def read_idx(path: Path, dimensions: int) -> NDArray[np.uint8]:
    """Read a file of uint8 with this number of dimensions.

    Raises:
        DataError: it cannot be read, or is damaged.
    """
    content = _read_bytes(path)
    magic = bytes([0, 0, 8, dimensions])
    start = len(magic) + 4 * dimensions
    if content[: len(magic)] != magic or len(content) < start:
        hint = ", or .gz at the end of its name" if content[:2] == b"\x1f\x8b" else ""
        raise DataError(
            f"{path}: starts with {content[: len(magic)].hex(' ') or 'nothing'}; expected {magic.hex(' ')}"
            f" and {dimensions} dimensions (IDX, uint8){hint}"
        )
    shape = tuple(int(size) for size in np.frombuffer(content[len(magic) : start], ">u4"))
    found = len(content) - start
    if found != math.prod(shape) or not found:
        raise DataError(
            f"{path}: {found} bytes after the header; expected at least 1, and {math.prod(shape)} for its"
            f" shape {shape}: copy the file again"
        )
    # A copy, since an array over bytes cannot be written to.
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape).copy()


def _read_bytes(path: Path) -> bytes:
    try:
        content = path.read_bytes()
        return gzip.decompress(content) if path.suffix == ".gz" else content
    except (gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise DataError(f"{path}: damaged gzip data ({error}); copy the file again") from error
    except OSError as error:
        expected = expected_readable() if isinstance(error, PermissionError) else "expected a readable file"
        raise DataError(f"{path}: cannot be read ({error.strerror}); {expected}") from error
