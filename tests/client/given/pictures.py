"""Small PNG and JPEG files of each kind, and class folders of them."""

import struct
import zlib
from base64 import b64decode
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from client.png import encode

# 24 x 16 pixels, red on the left and blue on the right, as the encoder of a photo program writes them.
RED, BLUE = (200, 40, 40), (40, 60, 220)
BASELINE = b64decode(
    "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAA0JCgsKCA0LCgsODg0PEyAVExISEyccHhcgLikxMC4pLSwzOko+MzZGNywtQFdB"
    "RkxOUlNSMj5aYVpQYEpRUk//2wBDAQ4ODhMREyYVFSZPNS01T09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09P"
    "T09PT09PT09PT09PT0//wAARCAAQABgDASIAAhEBAxEB/8QAFgABAQEAAAAAAAAAAAAAAAAAAwAF/8QAFhABAQEAAAAAAAAA"
    "AAAAAAAAAANC/8QAFgEBAQEAAAAAAAAAAAAAAAAABgAF/8QAGhEAAQUBAAAAAAAAAAAAAAAAAAECBTSBsf/aAAwDAQACEQMR"
    "AD8AxhWyUVsqLts3im/J1XZ1A0kXhM//2Q=="
)
PROGRESSIVE = b64decode(
    "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAA0JCgsKCA0LCgsODg0PEyAVExISEyccHhcgLikxMC4pLSwzOko+MzZGNywtQFdB"
    "RkxOUlNSMj5aYVpQYEpRUk//2wBDAQ4ODhMREyYVFSZPNS01T09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09P"
    "T09PT09PT09PT09PT0//wgARCAAQABgDASIAAhEBAxEB/8QAFgABAQEAAAAAAAAAAAAAAAAAAgAE/8QAFgEBAQEAAAAAAAAA"
    "AAAAAAAABQAE/9oADAMBAAIQAxAAAAHEUbealyf/xAAWEAEBAQAAAAAAAAAAAAAAAAABEAD/2gAIAQEAAQUCzWf/xAAXEQAD"
    "AQAAAAAAAAAAAAAAAAABBBAz/9oACAEDAQE/AWcjP//EABcRAAMBAAAAAAAAAAAAAAAAAAEEEDP/2gAIAQIBAT8BV1E//8QA"
    "FBABAAAAAAAAAAAAAAAAAAAAIP/aAAgBAQAGPwJf/8QAFhABAQEAAAAAAAAAAAAAAAAAEEEA/9oACAEBAAE/IdLJ/9oADAMB"
    "AAIAAwAAABCkP//EABYRAQEBAAAAAAAAAAAAAAAAALEBEP/aAAgBAwEBPxAjM//EABYRAQEBAAAAAAAAAAAAAAAAALEBEP/a"
    "AAgBAgEBPxBZc//EABQQAQAAAAAAAAAAAAAAAAAAACD/2gAIAQEAAT8QQf/Z"
)
CMYK = b64decode(
    "/9j/7gAOQWRvYmUAZAAAAAAA/9sAQwANCQoLCggNCwoLDg4NDxMgFRMSEhMnHB4XIC4pMTAuKS0sMzpKPjM2RjcsLUBXQUZM"
    "TlJTUjI+WmFaUGBKUVJP/8AAFAgAEAAYBEMRAE0RAFkRAEsRAP/EABgAAQEBAQEAAAAAAAAAAAAAAAYAAwcE/8QAGxABAAEF"
    "AQAAAAAAAAAAAAAAAAcEQkWDwoH/2gAOBEMATQBZAEsAAD8AWBIS6cHSBj9nLanu8N42yWrtBzY4TsTxuIIOkDH7OW1Pd4bx"
    "tktXaDmxwn//2Q=="
)
GREY = b64decode(
    "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAA0JCgsKCA0LCgsODg0PEyAVExISEyccHhcgLikxMC4pLSwzOko+MzZGNywtQFdB"
    "RkxOUlNSMj5aYVpQYEpRUk//wAALCAAQABgBAREA/8QAFgABAQEAAAAAAAAAAAAAAAAAAwQF/8QAFhABAQEAAAAAAAAAAAAA"
    "AAAAAANC/9oACAEBAAA/AMYVsjUitkb/2Q=="
)
SOI_BYTES = 2


def add_preview(photo: bytes, preview: bytes) -> bytes:
    """Insert an image into the header of a JPEG, as cameras do."""
    segment = b"\xff\xe1" + struct.pack(">H", 2 + len(preview)) + preview
    return photo[:SOI_BYTES] + segment + photo[SOI_BYTES:]


def write_png(rows: NDArray[np.uint8], bits: int, color_type: int, extra: bytes = b"") -> bytes:
    """Return a PNG.

    Args:
        rows: the bytes of each row, uint8 (rows, bytes).
        bits: of a sample.
        color_type: of the PNG format: 0 grey, 2 colors, 3 palette, 6 colors and transparency.
        extra: chunks between the header and the pixels.
    """
    columns = rows.shape[1] * 8 // (bits * {0: 1, 2: 3, 3: 1, 6: 4}[color_type])
    header = struct.pack(">IIBBBBB", columns, len(rows), bits, color_type, 0, 0, 0)
    lines = np.pad(rows, ((0, 0), (1, 0)))
    pixels = chunk(b"IDAT", zlib.compress(lines.tobytes()))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + pixels + chunk(b"IEND", b"")


def chunk(kind: bytes, content: bytes) -> bytes:
    """Return a chunk of a PNG."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def draw(seed: int, size: int = 8) -> NDArray[np.uint8]:
    """Draw a picture of random pixels."""
    return np.random.default_rng(seed).integers(0, 256, (size, size, 3), np.uint8)


def write_classes(folder: Path, **counts: int) -> None:
    """Write a folder with this many images for each class, all of them different."""
    for number, (name, count) in enumerate(counts.items()):
        (folder / name).mkdir(parents=True)
        for index in range(count):
            (folder / name / f"{index:03}.png").write_bytes(encode(draw(1000 * number + index)))
