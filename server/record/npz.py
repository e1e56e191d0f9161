"""Writes arrays as an `.npz` file of numpy: the final model, and checkpoints."""

import zipfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from flwr.app import Array

from fedmx.files import atomic_write

Member = tuple[str, bytes]


def save(members: Iterable[Member], path: Path) -> None:
    """Write the members of a file, whole or not at all.

    Raises:
        DataError: it cannot be written.
    """
    with atomic_write(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, data in members:
            # A ZipInfo has no time of its own, so that equal arrays make equal files.
            archive.writestr(zipfile.ZipInfo(name), data)


def members_of(arrays: Mapping[str, Array], prefix: str = "") -> Iterator[Member]:
    """List arrays as members of a file.

    An Array holds the bytes of an npy file, and npz is a zip of those: nothing is copied or converted.
    """
    for name, array in arrays.items():
        yield f"{prefix}{name}.npy", array.data
