"""Reads `.npz` files of plain arrays: a run's model, or examples. Nothing in them is unpickled."""

import zipfile
import zlib
from pathlib import Path

from flwr.app import Array

from fedmx import arrays
from fedmx.errors import DataError
from fedmx.files import disk_errors

_DAMAGED = (OSError, EOFError, KeyError, RuntimeError, ValueError, zipfile.BadZipFile, zlib.error)


def read(path: Path) -> dict[str, Array]:
    """Return the arrays of a file by name, in its order.

    Raises:
        DataError: it cannot be read, is damaged, or contains something other than arrays of numbers.
    """
    try:
        with disk_errors(path, reads=True), zipfile.ZipFile(path) as archive:
            found = {
                name.removesuffix(".npy"): Array("", (), "numpy.ndarray", archive.read(name))
                for name in archive.namelist()
            }
        for array in found.values():
            arrays.view(array)
    except _DAMAGED as error:
        raise DataError(
            f"{path}: cannot be read: {error}; expected arrays of numbers, as numpy.savez writes them"
        ) from None
    return found
