"""Files that are written completely or not at all, and disk errors in one line."""

import ctypes
import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import IO

from fedmx.errors import DataError

# FALLOC_FL_KEEP_SIZE and FALLOC_FL_PUNCH_HOLE of <linux/falloc.h>.
_PUNCH_HOLE = 1 | 2


@contextmanager
def atomic_write(path: Path, mode: int | None = None) -> Iterator[IO[bytes]]:
    """Open a file for writing that replaces the one at `path` once all of it is on the disk.

    Args:
        path: where the file appears.
        mode: its permissions from the first byte on; by default those of the process's umask.

    Raises:
        DataError: it cannot be written; a file that was at `path` before is still there.
    """
    if not path.name:
        raise DataError(f"{path}: is a folder; expected the path of a file")
    # One name for all attempts, so that the next one overwrites what a killed process left behind.
    temporary = path.with_name(f".{path.name}.part")
    try:
        with disk_errors(path), _open(temporary, mode) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
            temporary.replace(path)
            fsync_directory(path.parent)
    finally:
        # This fails if the volume is gone, and would replace the error that tells so.
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def _open(path: Path, mode: int | None) -> IO[bytes]:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666 if mode is None else mode)
    if mode is not None:
        # A file that exists already keeps its permissions when it is opened.
        os.fchmod(descriptor, mode)
    return os.fdopen(descriptor, "wb")


def fsync_directory(folder: Path) -> None:
    """Write the names in a folder to the disk, which a file's own `fsync` does not do.

    Raises:
        OSError: they could not be written.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def release_space(descriptor: int, start: int, size: int) -> None:
    """Release the disk space of a part of an open file, which then reads as zeros.

    Nothing happens where the system or the file system cannot do this.
    """
    _find_fallocate()(descriptor, _PUNCH_HOLE, ctypes.c_int64(start), ctypes.c_int64(size))


@cache
def _find_fallocate() -> Callable[..., object]:
    try:
        function: Callable[..., object] = ctypes.CDLL(None).fallocate
    except AttributeError:
        # The C library is not that of Linux.
        return lambda *_: None
    return function


class NotRegularError(OSError):
    """The path is no regular file, so reading it could wait forever."""


def open_regular(path: Path) -> IO[bytes]:
    """Open a file for reading; a pipe, which waits until somebody writes to it, is an error.

    Raises:
        NotRegularError: it is a pipe, a device or a socket.
        OSError: it cannot be opened.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        check_regular(descriptor)
    except OSError:
        os.close(descriptor)
        raise
    return os.fdopen(descriptor, "rb")


def read_regular(path: Path) -> bytes:
    """Read a file, as `open_regular` opens it.

    Raises:
        NotRegularError: it is a pipe, a device or a socket.
        OSError: it cannot be read.
    """
    with open_regular(path) as file:
        return file.read()


def check_regular(descriptor: int) -> None:
    """Check that an open file is a regular one.

    Raises:
        NotRegularError: it is a pipe, a device or a socket.
        OSError: it is a folder.
    """
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not stat.S_ISREG(mode):
        raise NotRegularError(errno.EINVAL, "Not a regular file")


@contextmanager
def disk_errors(path: Path, *, reads: bool = False) -> Iterator[None]:
    """Turn an `OSError` in the block into an error of one line that names the path.

    Raises:
        DataError: instead of an `OSError`.
    """
    try:
        yield
    except OSError as error:
        problem = "cannot be read" if reads else "cannot be written"
        if reads:
            expected = expected_readable()
        elif isinstance(error, PermissionError):
            expected = f"expected a folder that this user (uid {os.getuid()}) can write"
        else:
            expected = "expected a writable folder with room for it"
        raise DataError(f"{path}: {problem}: {error.strerror or error}; {expected}") from None


def expected_readable() -> str:
    """Return what is expected of a file that cannot be read."""
    return f"expected a file or folder that this user (uid {os.getuid()}) can read"
