"""A part of MNIST, for runs whose model does not matter; run as a program, it draws a digit."""

import gzip
import struct
import sys
from functools import cache
from pathlib import Path

from client.data.idx import read_idx
from client.png import encode

ROOT = Path(__file__).parents[1]
SIZES = {"train": 2000, "t10k": 500}


def write_small_mnist(folder: Path) -> None:
    """Write the first digits of each of the four files."""
    if folder.exists():
        return
    folder.mkdir(parents=True)
    for part, size in SIZES.items():
        for file, dimensions in ((f"{part}-images-idx3-ubyte.gz", 3), (f"{part}-labels-idx1-ubyte.gz", 1)):
            (folder / file).write_bytes(_shorten(file, dimensions, size))


@cache
def _shorten(file: str, dimensions: int, size: int) -> bytes:
    rows = read_idx(ROOT / "data" / "mnist" / file, dimensions)[:size]
    head = struct.pack(f">HBB{dimensions}I", 0, 8, dimensions, *rows.shape)
    return gzip.compress(head + rows.tobytes(), 1)


def write_seven(path: Path) -> None:
    """Write the first digit of the test set as a picture."""
    (digit, *_) = read_idx(ROOT / "data" / "mnist" / "t10k-images-idx3-ubyte.gz", 3)
    path.write_bytes(encode(digit[..., None].repeat(3, axis=2)))


if __name__ == "__main__":
    write_seven(Path(sys.argv[1]))
