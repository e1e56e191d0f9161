"""Generated datasets of a given size, as users have them: RecordIO, a folder of images, a memory map.

Images are PNG files of 224 x 224 pixels, whose decoding takes as long as that of a JPEG of the same bytes or
longer. Rows of the memory map are float32. A few examples are repeated, so that writing takes seconds.
"""

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from client import png
from client.mx import gluon, mx

KINDS = ("recordio", "folder", "memmap")
CLASSES = 10
TEST_EXAMPLES = 64

_SIDE, _BLOCK = 224, 28
_NOISE = 32
_DISTINCT = 50
_ROW = (3, 64, 64)


def write(folder: Path, kind: str, size: int) -> None:
    """Write a dataset of at least `size` bytes, unless it is there."""
    done = folder / "done"
    if done.exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    {"recordio": _write_records, "folder": _write_folder, "memmap": _write_memmap}[kind](folder, size)
    done.touch()


def forget(folder: Path) -> None:
    """Drop the files from the kernel's page cache, so that the next reader reads them from the disk."""
    for path in filter(Path.is_file, folder.rglob("*")):
        file = os.open(path, os.O_RDONLY)
        try:
            # Only pages that have been written can be dropped.
            os.fdatasync(file)
            os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(file)


def open_sets(folder: Path, kind: str) -> tuple[Any, Any]:
    """Return the training set, and its first examples as the test set."""
    if kind == "memmap":
        rows, labels = np.load(folder / "rows.npy", mmap_mode="r"), np.load(folder / "labels.npy")
        return (rows, labels), (rows[:TEST_EXAMPLES], labels[:TEST_EXAMPLES])
    vision = gluon.data.vision
    opened = (
        vision.ImageRecordDataset(str(folder / "images.rec"))
        if kind == "recordio"
        else vision.ImageFolderDataset(str(folder / "images"))
    )
    data = opened.transform_first(vision.transforms.ToTensor())
    return data, data.take(TEST_EXAMPLES)


def _write_records(folder: Path, size: int) -> None:
    images = _encode_images()
    records = mx.recordio.MXIndexedRecordIO(str(folder / "images.idx"), str(folder / "images.rec"), "w")
    for number in range(_count(size, images)):
        header = mx.recordio.IRHeader(0, number % CLASSES, number, 0)
        records.write_idx(number, mx.recordio.pack(header, images[number % _DISTINCT]))
    records.close()


def _write_folder(folder: Path, size: int) -> None:
    images = _encode_images()
    for number in range(_count(size, images)):
        path = folder / "images" / f"class{number % CLASSES}" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(images[number % _DISTINCT])


def _write_memmap(folder: Path, size: int) -> None:
    distinct = np.random.default_rng(0).random((_DISTINCT, *_ROW), np.float32)
    count = size // distinct[0].nbytes + 1
    # numpy's function has no types.
    open_memmap: Any = np.lib.format.open_memmap
    rows = open_memmap(folder / "rows.npy", "w+", np.float32, (count, *_ROW))
    for start in range(0, count, _DISTINCT):
        rows[start : start + _DISTINCT] = distinct[: count - start]
    rows.flush()
    np.save(folder / "labels.npy", np.arange(count) % CLASSES)


def _encode_images() -> list[bytes]:
    random = np.random.default_rng(0)
    return [png.encode(_draw(random)) for _ in range(_DISTINCT)]


def _draw(random: np.random.Generator) -> NDArray[np.uint8]:
    coarse = random.integers(256 - _NOISE, size=(_SIDE // _BLOCK, _SIDE // _BLOCK, 3))
    blocks = np.kron(coarse, np.ones((_BLOCK, _BLOCK, 1), int))
    picture: NDArray[np.uint8] = (blocks + random.integers(_NOISE, size=blocks.shape)).astype(np.uint8)
    return picture


def _count(size: int, images: list[bytes]) -> int:
    return size * len(images) // sum(map(len, images)) + 1
