"""Labels of gluon datasets."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from client.data import make_dataset
from client.lazy_data import digest_labels, find_labels, list_labels
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
