"""Checks and decodes PNG and JPEG files.

MXNet's decoder fills what is missing at the end of a JPEG with grey, without an error. So the structure of a
file is checked first: chunks and checksums of a PNG, segments and the end marker of a JPEG.
"""

import struct
import zlib
from pathlib import Path

from client.mx import mx
from client.task_errors import explain
from fedmx.errors import DataError
from fedmx.files import disk_errors

GREY, COLOR = 1, 3

_PNG, _JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
_JPEG_END = b"\xff\xd9"
_EXPECTED = "expected a whole PNG or JPEG file"
# A PNG's chunk: its length and kind, then its content, then a checksum.
_CHUNK, _CHECKSUM = struct.Struct(">I4s"), struct.Struct(">I")
_SIZES = struct.Struct(">II")
# A JPEG's segment: 0xff, its kind, and its length from there on.
_SEGMENT = struct.Struct(">BBH")
_MARK, _SCAN = 0xFF, 0xDA
# Segments with the sizes of an image, and those among them that the decoder knows.
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_KNOWN_FRAMES = (0xC0, 0xC1, 0xC2)
_FRAME = struct.Struct(">BHHB")
_BITS = 8
_CHANNELS = (1, 3, 4)


def is_image(data: bytes) -> bool:
    """Whether the content of a file begins as PNG or JPEG does."""
    return data.startswith((_PNG, _JPEG))


def check_image(path: Path, data: bytes) -> None:
    """Check that the content of a file is a whole PNG or JPEG, without decoding it.

    Raises:
        DataError: it is another file, truncated or damaged. A JPEG has no checksum: wrong bytes in the middle
            of one are not found.
    """
    if not is_image(data):
        raise DataError(f"{path}: not a PNG or JPEG file; {_EXPECTED}")
    problem = _find_problem_in_png(data) if data.startswith(_PNG) else _find_problem_in_jpeg(data)
    if problem:
        raise DataError(f"{path}: {problem}; {_EXPECTED}")


def decode_image(path: Path, data: bytes, channels: int = COLOR) -> mx.nd.NDArray:
    """Decode PNG or JPEG; of an animated file, the first picture.

    Args:
        path: the file, for errors.
        data: its content.
        channels: 1 to convert colors to grey, 3 to repeat grey.

    Returns:
        uint8 (rows, columns, channels). 16 bits per color become 8, and transparency is ignored.

    Raises:
        DataError: the content is not a whole PNG or JPEG file.
    """
    check_image(path, data)
    try:
        image = mx.image.imdecode(data, flag=int(channels == COLOR))
    except mx.base.MXNetError as error:
        raise DataError(f"{path}: damaged: {explain(error, None)}; {_EXPECTED}") from None
    if not image.size:
        raise DataError(f"{path}: damaged; {_EXPECTED}")
    return image


def read_image(path: Path) -> mx.nd.NDArray:
    """Return a file's pixels, uint8 (rows, columns, 3).

    Raises:
        DataError: the file cannot be read, or is not a whole PNG or JPEG file.
    """
    with disk_errors(path, reads=True):
        data = path.read_bytes()
    return decode_image(path, data)


def _find_problem_in_png(data: bytes) -> str | None:
    place = len(_PNG)
    content = memoryview(data)
    while place + _CHUNK.size <= len(data):
        length, kind = _CHUNK.unpack_from(data, place)
        end = place + _CHUNK.size + length
        if end + _CHECKSUM.size > len(data):
            break
        # The checksum covers the kind and the content.
        if zlib.crc32(content[place + 4 : end]) != _CHECKSUM.unpack_from(data, end)[0]:
            return f"damaged: the checksum of its part {kind!r} is wrong"
        if kind == b"IHDR" and 0 in _SIZES.unpack_from(data, place + _CHUNK.size):
            return "damaged: it has no pixels"
        if kind == b"IEND":
            return None
        place = end + _CHECKSUM.size
    return f"the image is truncated after {len(data)} bytes"


def _find_problem_in_jpeg(data: bytes) -> str | None:
    truncated = f"the image is truncated after {len(data)} bytes"
    if _JPEG_END not in data:
        return truncated
    place = 2
    while place + _SEGMENT.size <= len(data):
        mark, kind, length = _SEGMENT.unpack_from(data, place)
        if mark == kind == _MARK:
            place += 1
            continue
        if mark != _MARK or length <= 1:
            return f"damaged: no segment begins at byte {place}"
        if kind == _SCAN:
            # An end marker before this place is one of a preview in the header.
            return None if data.find(_JPEG_END, place) > 0 else truncated
        if kind in _FRAMES and (problem := _find_problem_in_frame(kind, data[place + _SEGMENT.size :][:6])):
            return problem
        place += 2 + length
    return truncated


def _find_problem_in_frame(kind: int, frame: bytes) -> str | None:
    if kind not in _KNOWN_FRAMES:
        return f"a JPEG of kind SOF{kind - 0xC0}, which MXNet cannot decode"
    if len(frame) < _FRAME.size:
        return "damaged: its header is too short"
    bits, rows, columns, channels = _FRAME.unpack(frame)
    if bits != _BITS or channels not in _CHANNELS:
        return f"a JPEG with {channels} channels of {bits} bits, which MXNet cannot decode"
    return None if rows and columns else "damaged: it has no pixels"
