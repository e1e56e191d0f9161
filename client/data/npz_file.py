"""Datasets in `.npz` files, as `numpy.savez` writes them. Nothing in them is unpickled.

An array of such a file is in a zip archive, so it cannot be a memory map. `numpy.load(path, mmap_mode="r")`
of an `.npy` file is one.
"""

import zipfile
import zlib
from collections.abc import Collection
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from client.data.dataset import Dataset, make_dataset
from client.data.set_files import find_set_files
from client.data.splitting import split_rows
from fedmx.arrays import view_npy
from fedmx.errors import DataError
from fedmx.files import disk_errors

Names = str | tuple[str, ...]

# The names of Keras' files, and those of a file that is split.
_TRAIN, _TEST = ("x_train", "y_train"), ("x_test", "y_test")
_BOTH = ("examples", "labels")
_DAMAGED = (EOFError, NotImplementedError, RuntimeError, zipfile.BadZipFile, zlib.error)
_READ_BYTES = 2**20


def read_npz(path: Path | str, *, examples: Names = _BOTH[0], labels: str = _BOTH[1]) -> Dataset:
    """Read one dataset.

    Args:
        path: the file.
        examples: the name of the array with the examples; a tuple of names for several inputs.
        labels: the name of the array with the labels.

    Raises:
        DataError: the file cannot be read, an array is missing or has no numbers, or their lengths differ.
    """
    path = Path(path)
    names = (examples,) if isinstance(examples, str) else examples
    with disk_errors(path, reads=True):
        *inputs, targets = _read_arrays(path, (*names, labels))
    what = f"{path}: arrays {', '.join(map(repr, (*names, labels)))}"
    return make_dataset(what, inputs[0] if isinstance(examples, str) else tuple(inputs), targets)


def load_npz(
    path: Path | str, *, examples: Names | None = None, labels: str | None = None, test_share: float = 0.2
) -> tuple[Dataset, Dataset]:
    """Return the training and the test set.

    Args:
        path: a file with the arrays `x_train`, `y_train`, `x_test` and `y_test`, or with two arrays, whose
            rows are split; or a folder with such a file, or with `train.npz` and `test.npz`.
        examples: the name of the array with the examples; a tuple of names for several inputs; None:
            `examples`.
        labels: the name of the array with the labels; None: `labels`.
        test_share: the share of the rows to test with, where they are split; with 0, both sets are all rows.

    Raises:
        DataError: as `read_npz`; or there is no such file, or several.
        SettingsError: the share is out of range.
    """
    path = Path(path)
    pair = (examples or _BOTH[0], labels or _BOTH[1])
    files = find_set_files(path, ".npz") if path.is_dir() else [path]
    if len(files) > 1:
        train, test = (read_npz(file, examples=pair[0], labels=pair[1]) for file in files)
        return train, test
    if examples is None and labels is None and _has_both_sets(files[0]):
        train, test = (read_npz(files[0], examples=x, labels=y) for x, y in (_TRAIN, _TEST))
        return train, test
    data = read_npz(files[0], examples=pair[0], labels=pair[1])
    train, test = (
        Dataset(tuple(rows[chosen] for rows in data.inputs), data.labels[chosen])
        for chosen in split_rows(len(data), test_share)
    )
    return train, test


def _has_both_sets(path: Path) -> bool:
    """Whether a file has arrays of a training set, and must have those of a test set as well."""
    with disk_errors(path, reads=True), _opening(path) as archive:
        return bool({*_TRAIN, *_TEST} & set(_list_names(archive)))


def _read_arrays(path: Path, names: Collection[str]) -> list[NDArray[Any]]:
    with _opening(path) as archive:
        found = _list_names(archive)
        for name in names:
            if name not in found:
                listed = ", ".join(found) or "no arrays"
                raise DataError(f"{path}: has {listed}; expected an array {name!r}")
        return [_read_array(path, archive, name) for name in names]


def _opening(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except zipfile.BadZipFile as error:
        raise DataError(
            f"{path}: not a whole .npz file ({error}); expected one that numpy.savez wrote: copy it again"
        ) from None


def _list_names(archive: zipfile.ZipFile) -> list[str]:
    return [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]


def _read_array(path: Path, archive: zipfile.ZipFile, name: str) -> NDArray[Any]:
    what = f"{path}: array {name!r}"
    member = archive.getinfo(f"{name}.npy")
    # The array uses these bytes, and can be written to; `read` would return bytes that cannot.
    content = bytearray()
    try:
        with archive.open(member) as file:
            while chunk := file.read(_READ_BYTES):
                content += chunk
    except _DAMAGED as error:
        raise DataError(f"{what}: damaged ({error}); expected a whole file: copy it again") from None
    try:
        return view_npy(content)
    except ValueError as error:
        raise DataError(
            f"{what}: {error}; expected an array of numbers: objects are never unpickled, and texts are no"
            " numbers"
        ) from None
