"""Reads the labels of gluon's `ImageRecordDataset` without its images: a few bytes per record.

`recordio.pack` writes a header with the label at the start of a record.
"""

import os
from collections.abc import Iterable

from client.data.record_file import HEADER, LENGTH_BITS, MAGIC, WORDS
from client.mx import gluon, mx


def read_labels(dataset: gluon.data.Dataset) -> list[float] | None:
    """Return the labels of an `ImageRecordDataset`.

    Args:
        dataset: without a transform of its own.

    Returns:
        None if it is another dataset, if its labels are arrays, or if the file has another format.
    """
    kind = gluon.data.vision.ImageRecordDataset
    # A subclass may have other labels.
    if not isinstance(dataset, kind) or type(dataset).__getitem__ is not kind.__getitem__:
        return None
    # gluon has no public way to ask a dataset for its index.
    records: mx.recordio.MXIndexedRecordIO = dataset._record  # noqa: SLF001
    return _read_at(dataset.filename, (records.idx[key] for key in records.keys))


def _read_at(path: str, places: Iterable[int]) -> list[float] | None:
    # The dataset's own handle is at a position, and a worker process may share it.
    file = os.open(path, os.O_RDONLY)
    try:
        # Without this, the kernel reads ahead, and most of the images are read after all.
        os.posix_fadvise(file, 0, 0, os.POSIX_FADV_RANDOM)
        labels = []
        for place in places:
            label = _parse(os.pread(file, WORDS.size + HEADER.size, place))
            if label is None:
                return None
            labels.append(label)
        return labels
    finally:
        os.close(file)


def _parse(start: bytes) -> float | None:
    """Return the label at the start of a record; None if there is not exactly one."""
    if len(start) < WORDS.size + HEADER.size:
        return None
    magic, word = WORDS.unpack_from(start)
    count, label, *_ = HEADER.unpack_from(start, WORDS.size)
    # A record that contains the magic number is stored in parts, the first of which may be shorter.
    is_whole = word % (1 << LENGTH_BITS) >= HEADER.size
    return float(label) if magic == MAGIC and is_whole and not count else None
