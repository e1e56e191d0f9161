"""Writes pictures as PNG, with digits in a small font: enough for a matrix, without a plotting library."""

import struct
import zlib

import numpy as np
from numpy.typing import NDArray

# Three columns by five rows for each digit, row by row.
_DIGITS = (
    "111101101101111",
    "010110010010111",
    "111001111100111",
    "111001111001111",
    "101101111001001",
    "111100111001111",
    "111100111101111",
    "111001001001001",
    "111101111101111",
    "111101111001111",
)
_WIDTH, _HEIGHT = 3, 5
_SCALE = 2
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_BITS, _RGB = 8, 2


def encode(picture: NDArray[np.uint8]) -> bytes:
    """Return the file of a picture, uint8 (rows, columns, 3)."""
    rows, columns, _ = picture.shape
    header = struct.pack(">IIBBBBB", columns, rows, _BITS, _RGB, 0, 0, 0)
    # Each row begins with the number of its filter; 0 is none.
    lines = np.zeros((rows, 1 + 3 * columns), np.uint8)
    lines[:, 1:] = picture.reshape(rows, -1)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(lines.tobytes())), (b"IEND", b""))
    return _SIGNATURE + b"".join(_chunk(kind, data) for kind, data in chunks)


def draw_digits(
    picture: NDArray[np.float64], number: int, center: tuple[int, int], color: int = 0, room: int = 10**6
) -> None:
    """Write a number into a picture.

    Args:
        picture: (rows, columns, 3), changed in place.
        number: at least 0.
        center: row and column of its middle.
        color: value of all three channels, from 0 to 255.
        room: width in pixels; a wider number is left out.
    """
    glyphs = [np.array(list(_DIGITS[int(digit)]), int).reshape(_HEIGHT, _WIDTH) for digit in str(number)]
    text = np.concatenate([np.pad(glyph, ((0, 0), (0, 1))) for glyph in glyphs], axis=1)[:, :-1]
    mask = np.kron(text, np.ones((_SCALE, _SCALE), int)).astype(bool)
    if mask.shape[1] >= room:
        return
    top, left = (middle - size // 2 for middle, size in zip(center, mask.shape, strict=True))
    picture[top : top + mask.shape[0], left : left + mask.shape[1]][mask] = color


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
