"""Labels of gluon datasets."""

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from client import png
from client.data import make_dataset, progress
from client.data.lazy import digest_labels, find_labels, list_labels
from client.mx import gluon, mx
from fedmx.errors import DataError

LABELS = np.array([2, 0, 1, 2])
EXAMPLES = np.zeros((4, 3), np.float32)


class Unreadable:
    """Fails when an item is read."""

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> Any:
        raise AssertionError(index)


class Counting(gluon.data.Dataset):  # type: ignore[misc] # MXNet has no types
    """Items whose labels are known only when they are read."""

    def __init__(self, labels: Any) -> None:
        self.labels = labels
        self.reads = 0

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> Any:
        self.reads += 1
        return EXAMPLES[0], self.labels[index]


RECORDS = [2, 0, 1, 2]
"""Labels of the records that `pack` writes."""


def pack(folder: Path, labels: Sequence[Any] = RECORDS, payload: bytes = b"") -> gluon.data.Dataset:
    """Write a RecordIO file, by default with payloads that are not images: items cannot be read."""
    records = mx.recordio.MXIndexedRecordIO(str(folder / "set.idx"), str(folder / "set.rec"), "w")
    for number, label in enumerate(labels):
        header = mx.recordio.IRHeader(0, label, number, 0)
        records.write_idx(number, mx.recordio.pack(header, payload or bytes(number)))
    records.close()
    return gluon.data.vision.ImageRecordDataset(str(folder / "set.rec"))


IMAGE = png.encode(np.zeros((2, 2, 3), np.uint8))


def fold(folder: Path) -> gluon.data.Dataset:
    for number, label in enumerate(LABELS):
        (folder / f"class{label}").mkdir(exist_ok=True)
        (folder / f"class{label}" / f"{number}.png").touch()
    return gluon.data.vision.ImageFolderDataset(str(folder))


@pytest.mark.parametrize("labels", [LABELS, LABELS.tolist(), mx.nd.array(LABELS), LABELS.astype(np.float32)])
@pytest.mark.parametrize("is_transformed", [False, True])
def test_labels_that_a_dataset_keeps_are_listed_without_reading_an_item(
    labels: Any, *, is_transformed: bool
) -> None:
    dataset = gluon.data.ArrayDataset(Unreadable(), labels)
    if is_transformed:
        dataset = dataset.transform_first(lambda example: example).transform_first(lambda example: example)
    assert list_labels(dataset, "set").tolist() == LABELS.tolist()


def test_labels_of_a_folder_of_images_are_those_of_its_folders(tmp_path: Path) -> None:
    dataset = fold(tmp_path)
    assert list_labels(dataset.transform_first(lambda image: image), "set").tolist() == [0, 1, 2, 2]


def test_labels_of_a_downloaded_dataset_are_not_read_again(tmp_path: Path) -> None:
    class Downloaded(gluon.data.dataset._DownloadedDataset):  # type: ignore[misc] # MXNet has no types
        def _get_data(self) -> None:
            self._data, self._label = Unreadable(), LABELS

    assert list_labels(Downloaded(str(tmp_path), None), "set").tolist() == LABELS.tolist()


@pytest.mark.parametrize(
    ("derive", "expected"),
    [
        (lambda records: records, RECORDS),
        (lambda records: records.transform_first(len), RECORDS),
        (lambda records: records.take(3).transform_first(len).shard(3, 1), [0]),
        (lambda records: records.sample(gluon.data.FilterSampler(lambda index: index % 2, range(4))), [0, 2]),
    ],
    ids=["all", "transformed", "some", "odd"],
)
def test_labels_of_records_are_listed_without_reading_an_image(
    derive: Any, expected: list[int], tmp_path: Path
) -> None:
    assert list_labels(derive(pack(tmp_path)), "set").tolist() == expected


def test_a_record_that_is_stored_in_parts_has_its_label(tmp_path: Path) -> None:
    magic = struct.pack("<I", 0xCED7230A)
    assert find_labels(pack(tmp_path, payload=magic + b"more")) == RECORDS
    # The label itself is the magic number: the first part ends before it.
    [label] = struct.unpack("<f", magic)
    dataset = pack(tmp_path, [label, 1], IMAGE)
    assert find_labels(dataset) is None
    assert list_labels(dataset, "set")[1] == 1


def test_labels_that_a_transform_may_change_are_read_with_the_examples(tmp_path: Path) -> None:
    def shift(image: Any, label: float) -> Any:
        return image, label + 1

    records = pack(tmp_path, payload=IMAGE)
    own = gluon.data.vision.ImageRecordDataset(records.filename, transform=shift)
    for dataset in (own, own.take(4), records.transform(shift), records.take(4).transform(shift)):
        assert find_labels(dataset) is None
        assert list_labels(dataset, "set").tolist() == [3, 1, 2, 3]


def test_some_images_of_a_folder_have_the_labels_of_their_folders(tmp_path: Path) -> None:
    assert list_labels(fold(tmp_path).take(3), "set").tolist() == [0, 1, 2]


def test_labels_of_records_that_are_arrays_are_no_class_numbers(tmp_path: Path) -> None:
    # Such as `recordio.pack` writes them: their number is in the header, and they follow it.
    dataset = pack(tmp_path, [5], struct.pack("<2f", 1, 2) + IMAGE)
    path = Path(dataset.filename)
    one, two = (struct.pack("If", *start) for start in ((0, 5), (2, 0)))
    path.write_bytes(path.read_bytes().replace(one, two, 1))
    assert dataset[0][1].tolist() == [1, 2]
    assert find_labels(dataset) is None
    with pytest.raises(DataError, match="labels are not class numbers"):
        list_labels(dataset, "set")


def test_reading_every_example_is_logged_with_its_progress(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(progress, "_LOG_EVERY_S", 0.0)
    with caplog.at_level("INFO", logger="fedmx"):
        list_labels(Counting(LABELS), "training set")
    assert "examples=4 read=2" in caplog.text


@pytest.mark.parametrize(
    "label",
    [int, np.float32, lambda x: mx.nd.array([x]), lambda x: np.array([x])],
    ids=["int", "float32", "mxnet", "numpy"],
)
def test_other_datasets_are_read_once(label: Any) -> None:
    dataset = Counting([label(one) for one in LABELS])
    assert find_labels(dataset) is None
    assert list_labels(dataset, "set").tolist() == LABELS.tolist()
    assert dataset.reads == 4


@pytest.mark.parametrize("labels", [[0.5] * 4, ["cat"] * 4, [np.zeros(2)] * 4, [None] * 4])
def test_labels_that_are_not_class_numbers_are_rejected(labels: Any) -> None:
    with pytest.raises(DataError, match=r"^TASK=t: set: its labels are not class numbers"):
        list_labels(Counting(labels), "TASK=t: set")


def test_labels_of_arrays_stay_as_they_are() -> None:
    dataset = make_dataset("set", EXAMPLES, LABELS)
    assert list_labels(dataset, "set") is dataset.labels


def test_the_digest_covers_the_labels_of_arrays_and_the_number_of_other_examples() -> None:
    arrays = [make_dataset("set", EXAMPLES, labels) for labels in (LABELS, LABELS[::-1])]
    assert digest_labels(arrays[0], arrays[0]) != digest_labels(arrays[0], arrays[1])
    lazy = [Counting(LABELS), Counting(LABELS[::-1]), Counting(LABELS[:3])]
    assert digest_labels(lazy[0], lazy[1]) == digest_labels(lazy[1], lazy[0])
    assert digest_labels(lazy[0], lazy[1]) != digest_labels(lazy[0], lazy[2])
