"""RecordIO, in which MXNet's `im2rec` packs images: where the records of a file are, and their content.

A record is one part or several. A part begins with two words: a magic number, then a kind in the upper three
bits and a length in the others. It is padded to a multiple of four bytes. The magic number, where it occurs
in the content, is left out, and what is before and after it are parts.
"""

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from fedmx.errors import DataError

MAGIC = 0xCED7230A
LENGTH_BITS = 29
WORDS = struct.Struct("<II")
"""The magic number, then kind and length."""
HEADER = struct.Struct("<IfQQ")
"""The count of further labels, the label, and an id of two words: `recordio.IRHeader`."""

_PADDING = 4
_WHOLE, _FIRST, _MIDDLE, _LAST = range(4)
# A header, and the signature of an image.
_HEAD_BYTES = HEADER.size + 8
_MAGIC_BYTES = struct.pack("<I", MAGIC)


class Record(NamedTuple):
    """A record of a file.

    Attributes:
        start: where it begins.
        end: where the next one begins.
        head: its first bytes: the header, and at least 8 bytes of what follows.
    """

    start: int
    end: int
    head: bytes


def scan_records(path: Path) -> Iterator[Record]:
    """Find the records of a file; of each, a few bytes are read.

    Raises:
        OSError: the file cannot be read.
        DataError: it is truncated, or not a RecordIO file.
    """
    file = os.open(path, os.O_RDONLY)
    try:
        # Without this, the kernel reads ahead, and most of the content is read after all.
        os.posix_fadvise(file, 0, 0, os.POSIX_FADV_RANDOM)
        size = os.fstat(file).st_size
        start = number = 0
        while start < size:
            parts = list(_list_parts(file, start, f"{path}: record {number} at byte {start}", size))
            head = os.pread(file, min(_HEAD_BYTES, parts[0][1]), parts[0][0])
            if len(parts) > 1:
                head = _join(file, parts)[:_HEAD_BYTES]
            end = _pad(sum(parts[-1]))
            yield Record(start, end, head)
            start = end
            number += 1
    finally:
        os.close(file)


def read_record(path: Path, start: int, end: int) -> bytes:
    """Return the content of a record.

    Raises:
        OSError: the file cannot be read.
        DataError: the file has changed since it was scanned.
    """
    # Each call opens the file, since threads and forked processes may read at the same time.
    file = os.open(path, os.O_RDONLY)
    try:
        return _join(file, list(_list_parts(file, start, f"{path}: record at byte {start}", end)))
    finally:
        os.close(file)


def _list_parts(file: int, start: int, what: str, size: int) -> Iterator[tuple[int, int]]:
    """Yield where the content of each part of a record begins, and its length."""
    allowed = (_WHOLE, _FIRST)
    while True:
        words = os.pread(file, WORDS.size, start)
        if len(words) < WORDS.size:
            raise DataError(f"{what}: truncated; expected a whole file: copy it again")
        magic, word = WORDS.unpack(words)
        kind, length = word >> LENGTH_BITS, word % (1 << LENGTH_BITS)
        if magic != MAGIC or kind not in allowed:
            raise DataError(
                f"{what}: begins with {words.hex(' ')}; expected {_MAGIC_BYTES.hex(' ')} and a length: a"
                " RecordIO file, as im2rec writes it"
            )
        start += WORDS.size
        if start + length > size:
            raise DataError(
                f"{what}: truncated, {size - start} of {length} bytes; expected a whole file: copy it again"
            )
        yield start, length
        if kind in (_WHOLE, _LAST):
            return
        allowed = (_MIDDLE, _LAST)
        start = _pad(start + length)


def _join(file: int, parts: list[tuple[int, int]]) -> bytes:
    return _MAGIC_BYTES.join(os.pread(file, length, start) for start, length in parts)


def _pad(place: int) -> int:
    return -(-place // _PADDING) * _PADDING
