"""Files that appear whole or not at all, and one line for a disk that cannot take them."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from fedmx.errors import DataError


@contextmanager
def atomic_write(path: Path, mode: int | None = None) -> Iterator[IO[bytes]]:
    """Open a file for writing that takes its place at `path` once all of it is on the disk.

    Args:
        path: its place.
        mode: who may read and write it, from the first byte on; as the process's umask has it by default.

    Raises:
        DataError: it cannot be written; what was at `path` before is still there.
    """
    # One name for all attempts: what a process that was killed left there is overwritten.
    temporary = path.with_name(f".{path.name}.part")
    try:
        with disk_errors(path), _open(temporary, mode) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
            temporary.replace(path)
            fsync_directory(path.parent)
    finally:
        with suppress(OSError):  # of a volume that is gone; the error that matters is the one above
            temporary.unlink(missing_ok=True)


def _open(path: Path, mode: int | None) -> IO[bytes]:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666 if mode is None else mode)
    if mode is not None:
        os.fchmod(descriptor, mode)  # of a file that was there
    return os.fdopen(descriptor, "wb")


def fsync_directory(folder: Path) -> None:
    """Have the disk keep the names in a folder, which a file's own `fsync` does not.

    Raises:
        OSError: the disk does not.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def disk_errors(path: Path, *, reads: bool = False) -> Iterator[None]:
    """Turn the system's errors about `path` into one line that names it.

    Raises:
        DataError: in place of an `OSError`.
    """
    try:
        yield
    except OSError as error:
        found = error.strerror or error
        if reads:
            words = f"cannot be read: {found}; {expected_readable()}"
        elif isinstance(error, PermissionError):
            words = (
                f"cannot be written: {found}; expected a folder that this user (uid {os.getuid()}) can write"
            )
        else:
            words = f"cannot be written: {found}; expected a writable folder with room for it"
        raise DataError(f"{path}: {words}") from None


def expected_readable() -> str:
    """Return what is expected of a file that cannot be read: whose permission is missing."""
    return f"expected what this user (uid {os.getuid()}) can read"
