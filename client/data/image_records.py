"""Images in RecordIO files, which MXNet's `im2rec` packs: one label for each, decoded when they are read."""

from collections.abc import Sequence
from copy import copy
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from client.data.dataset import MAX_EXACT
from client.data.image_files import decode_image, is_image
from client.data.progress import log_progress
from client.data.record_file import HEADER, Record, read_record, scan_records
from client.data.set_files import find_set_files
from client.data.splitting import split_classes
from client.mx import gluon, mx
from fedmx.errors import DataError
from fedmx.files import disk_errors


class ImageRecords(gluon.data.Dataset):  # type: ignore[misc] # MXNet has no types
    """A dataset of (image, class number) that reads and decodes an image when it is asked for.

    An image is an MXNet array, uint8 (rows, columns, 3), as gluon's transforms take it. The start of each
    record is read at once, and checked; an `.idx` file is not needed.

    Args:
        path: the `.rec` file.
        classes: the number of classes, so that a label of another one is an error; None: any.

    Attributes:
        path: the file.
        labels: the class numbers, int64 (n,).
        numbers: the numbers of the images' records in the file, from 0, int64 (n,).

    Raises:
        DataError: the file cannot be read, is truncated, is not a RecordIO file of images, or a label is not
            a class number.
    """

    def __init__(self, path: Path | str, classes: int | None = None) -> None:
        self.path = Path(path)
        with disk_errors(self.path, reads=True):
            records = log_progress(scan_records(self.path), "reading the labels of records", file=self.path)
            found = [self._check(number, record, classes) for number, record in enumerate(records)]
        if not found:
            raise DataError(f"{path}: has no records; expected at least one")
        self.labels: NDArray[np.int64] = np.array([label for label, _, _ in found], np.int64)
        self.numbers: NDArray[np.int64] = np.arange(len(found))
        self._places: NDArray[np.int64] = np.array([(start, end) for _, start, end in found], np.int64)

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[mx.nd.NDArray, int]:
        """Return an image and its class number.

        Raises:
            DataError: the record cannot be read, or is not a whole PNG or JPEG file.
        """
        number = self.numbers[index]
        start, end = map(int, self._places[number])
        with disk_errors(self.path, reads=True):
            content = read_record(self.path, start, end)
        name = Path(f"{self.path}: record {number}")
        return decode_image(name, content[HEADER.size :]), int(self.labels[index])

    def select(self, indices: NDArray[Any] | Sequence[int]) -> "ImageRecords":
        """Return a dataset of some of the images."""
        chosen = copy(self)
        rows = np.asarray(indices, np.int64)
        chosen.labels, chosen.numbers = self.labels[rows], self.numbers[rows]
        return chosen

    def split(self, test_share: float = 0.2) -> tuple["ImageRecords", "ImageRecords"]:
        """Divide the images of each class into those to train and those to test, the same at every call.

        Raises:
            DataError: a class has one image.
            SettingsError: the share is out of range.
        """
        classes, firsts, counts = np.unique(self.labels, return_index=True, return_counts=True)
        for number, first in zip(classes[counts == 1], firsts[counts == 1], strict=True):
            raise DataError(
                f"{self.path}: record {self.numbers[first]}: the only image of class {number}; expected at"
                " least 2, one to train and one to test"
            )
        train, test = split_classes(self.labels, test_share)
        return self.select(train), self.select(test)

    def _check(self, number: int, record: Record, classes: int | None) -> tuple[int, int, int]:
        """Return the label of a record, where it begins and where it ends."""
        what = f"{self.path}: record {number}"
        not_packed = f"{what}: not a PNG or JPEG image behind a label; expected what im2rec writes"
        if len(record.head) < HEADER.size:
            raise DataError(not_packed)
        # Further labels would be between the header and the image.
        count, label, *_ = HEADER.unpack_from(record.head)
        if count:
            raise DataError(
                f"{what}: has an array of {count} labels; expected one class number, or a task that reads"
                " the file with gluon's ImageRecordDataset"
            )
        if not is_image(record.head[HEADER.size :]):
            raise DataError(not_packed)
        if not 0 <= label <= MAX_EXACT or label != int(label):
            raise DataError(f"{what}: has the label {label:g}; expected a class number: 0, 1, ...")
        if classes is not None and label >= classes:
            raise DataError(f"{what}: has the label {label:g}; expected a class number below {classes}")
        return int(label), record.start, record.end


def load_image_records(
    path: Path | str, classes: int | None = None, test_share: float = 0.2
) -> tuple[ImageRecords, ImageRecords]:
    """Return the training and the test set.

    Args:
        path: a `.rec` file, which is split; or a folder with one, or with `train.rec` and `test.rec` or
            `val.rec`.
        classes: the number of classes, so that a label of another one is an error; None: any.
        test_share: the share of the images to test with, where a file is split; with 0, both sets are all
            images.

    Raises:
        DataError: as `ImageRecords`; or there is no such file, or several without a train.rec.
        SettingsError: the share is out of range.
    """
    path = Path(path)
    if not path.is_dir():
        return ImageRecords(path, classes).split(test_share)
    files = find_set_files(path, ".rec", ("test", "val"))
    if len(files) == 1:
        return ImageRecords(files[0], classes).split(test_share)
    train, test = (ImageRecords(file, classes) for file in files)
    return train, test
