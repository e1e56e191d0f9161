"""Arrays as an `.npz` file of numpy: the final model, checkpoints, and what a run starts from."""

import io
import struct
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from flwr.app import Array

from fedmx import arrays as npy
from fedmx.files import atomic_write

Member = tuple[str, bytes]

READ_ERRORS = (
    OSError,
    EOFError,
    KeyError,
    AttributeError,
    TypeError,
    RuntimeError,
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
)
"""What a damaged file makes `zipfile`, `json` and `numpy` raise; OSError is for a wrong offset."""


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


def parse(data: bytes, limit: int) -> dict[str, Array]:
    """Parse the content of a file of plain arrays, compressed or not.

    Args:
        data: the file's content.
        limit: maximum bytes of its arrays.

    Raises:
        ValueError: it is damaged, or has something other than arrays of numbers, or more bytes.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = archive.infolist()
            if (size := sum(member.file_size for member in members)) > limit:
                raise ValueError(f"it has {size} bytes of arrays, at most {limit} are accepted")
            return {member.filename.removesuffix(".npy"): _parse_array(archive, member) for member in members}
    except READ_ERRORS as error:
        raise ValueError(f"it cannot be read: {error}") from None


def _parse_array(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Array:
    try:
        values = npy.view(Array("", (), "numpy.ndarray", archive.read(member)))
    except ValueError as error:
        raise ValueError(f"its member {member.filename!r}: {error}") from None
    return npy.pack(values)
