"""One file for all arrays of a store that are not in memory.

It has no name in the folder, so that nothing remains of it after a crash.
"""

import os
import tempfile
import threading
import weakref
from pathlib import Path
from typing import IO

from fedmx.files import disk_errors, release_space

# Of file systems, which release whole blocks only.
_BLOCK_BYTES = 4_096


class Spool:
    """The file. Places in it are given out from its start to its end.

    Once all are free, it is empty again. Until then, the disk space of free places is released when it
    exceeds that of the others: at the end of a round, to release it place by place would take longer.

    Args:
        folder: where it is created when it is needed first.
        lock: of its store; reentrant.
    """

    def __init__(self, folder: Path, lock: "threading.RLock") -> None:
        self.folder = folder
        self._file: IO[bytes] | None = None
        self._lock = lock
        # Bytes of the places that are used, of all that were given out, and of those that were released.
        self._used = self._end = self._released = 0
        # Start and bytes of the places that are free and were not released.
        self._free: list[tuple[int, int]] = []

    def reserve(self, size: int) -> "Region":
        """Reserve a place.

        Raises:
            DataError: the file cannot be created.
        """
        room = (size // _BLOCK_BYTES + 1) * _BLOCK_BYTES
        with self._lock:
            descriptor = self._open()
            if self._end - self._released > 2 * self._used:
                self._release_space(descriptor)
            # Counted first: the garbage collector may free the last place before the new region exists.
            self._used += room
            place = (self._end, room)
            self._end += room
            region = Region(self.folder, descriptor, place[0])
        weakref.finalize(region, self._take_back, descriptor, place).atexit = False
        return region

    def _open(self) -> int:
        if self._file is None:
            with disk_errors(self.folder):
                self._file = tempfile.TemporaryFile(dir=self.folder)  # noqa: SIM115 - stays open
            weakref.finalize(self, self._file.close)
        return self._file.fileno()

    def _release_space(self, descriptor: int) -> None:
        while self._free:
            start, room = self._free.pop()
            release_space(descriptor, start, room)
            self._released += room

    def _take_back(self, descriptor: int, place: tuple[int, int]) -> None:
        # The garbage collector may call this anywhere, also within the functions above.
        with self._lock:
            self._used -= place[1]
            if self._used:
                self._free.append(place)
            else:
                self._end = self._released = 0
                self._free.clear()
                os.ftruncate(descriptor, 0)


class Region:
    """A place in the file, while something refers to it.

    Args:
        folder: of the file, for messages.
        descriptor: the open file.
        start: where the place begins.
    """

    def __init__(self, folder: Path, descriptor: int, start: int) -> None:
        self._folder = folder
        self._descriptor = descriptor
        self._start = start

    def write(self, offset: int, data: memoryview) -> None:
        """Write all bytes.

        Raises:
            DataError: the disk fails, or is full.
        """
        with disk_errors(self._folder):
            while data.nbytes:
                written = os.pwrite(self._descriptor, data, self._start + offset)
                offset += written
                data = data[written:]

    def read(self, offset: int, buffer: memoryview) -> None:
        """Fill a buffer.

        Raises:
            DataError: the disk fails.
        """
        with disk_errors(self._folder):
            while buffer.nbytes:
                count = os.preadv(self._descriptor, [buffer], self._start + offset)
                if not count:
                    raise OSError("the spool file is shorter than what was written to it")
                offset += count
                buffer = buffer[count:]
