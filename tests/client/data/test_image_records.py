"""Images in RecordIO files that MXNet wrote: items, splits, and what is wrong with a file in one line."""

import pickle
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from client.data import ImageRecords, load_image_records
from client.data.lazy import list_labels
from client.data.record_file import MAGIC, read_record, scan_records
from client.mx import gluon, mx
from client.png import encode
from fedmx.errors import DataError
from tests.client.given.messages import find_message

LABELS = [2, 0, 1, 2, 0, 1, 0, 1, 2]


def draw(number: int) -> bytes:
    """Return a PNG file of 2 x 3 pixels whose red is the number."""
    picture = np.zeros((2, 3, 3), np.uint8)
    picture[..., 0] = number
    return encode(picture)


def add_header(number: int, label: Any) -> bytes:
    if isinstance(label, list):
        # As mx.recordio.pack, which calls a method of arrays that numpy 2 does not have.
        return struct.pack("<IfQQ", len(label), 0, number, 0) + np.array(label, np.float32).tobytes()
    header: bytes = mx.recordio.pack(mx.recordio.IRHeader(0, label, number, 0), b"")
    return header


def pack(path: Path, labels: Sequence[Any] = LABELS, contents: Sequence[bytes] = ()) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    records = mx.recordio.MXIndexedRecordIO(str(path.with_suffix(".idx")), str(path), "w")
    for number, label in enumerate(labels):
        content = contents[number] if contents else draw(number)
        records.write_idx(number, add_header(number, label) + content)
    records.close()
    return path


def message_of(path: Path, **how: Any) -> str:
    return find_message(load_image_records, path, **how)


def test_items_are_those_of_gluons_dataset(tmp_path: Path) -> None:
    path = pack(tmp_path / "a.rec")
    data, known = ImageRecords(path), gluon.data.vision.ImageRecordDataset(str(path))
    assert len(data) == len(known) == len(LABELS)
    for index in range(len(LABELS)):
        (image, label), (expected, number) = data[index], known[index]
        assert (image.asnumpy() == expected.asnumpy()).all()
        assert (image.shape, image.dtype) == ((2, 3, 3), np.uint8)
        assert label == number == LABELS[index]


def test_an_idx_file_is_not_needed(tmp_path: Path) -> None:
    path = pack(tmp_path / "a.rec")
    path.with_suffix(".idx").unlink()
    assert ImageRecords(path).labels.tolist() == LABELS


@pytest.mark.parametrize("places", [[8], [0, 4, 20], [4]])
def test_a_record_that_contains_the_magic_number_is_read_whole(tmp_path: Path, places: list[int]) -> None:
    # The writer divides a record at each magic number that begins at a multiple of four bytes.
    magic = struct.pack("<I", MAGIC)
    words = [struct.pack("<I", number) for number in range(9)]
    for place in places:
        words[place // 4] = magic
    contents = [b"first", b"".join(words) + b"odd", b"last"]
    path = tmp_path / "a.rec"
    records = mx.recordio.MXRecordIO(str(path), "w")
    for content in contents:
        records.write(content)
    records.close()
    assert path.read_bytes().count(magic) > len(contents)
    assert [read_record(path, found.start, found.end) for found in scan_records(path)] == contents


def test_a_label_that_looks_like_the_magic_number_is_read(tmp_path: Path) -> None:
    records = mx.recordio.MXRecordIO(str(tmp_path / "a.rec"), "w")
    records.write(mx.recordio.pack(mx.recordio.IRHeader(0, 1, MAGIC, 0), draw(1)))
    records.close()
    assert ImageRecords(tmp_path / "a.rec").labels.tolist() == [1]


def test_a_split_has_images_of_every_class_on_both_sides_and_is_the_same_at_every_call(
    tmp_path: Path,
) -> None:
    path = pack(tmp_path / "data" / "images.rec")
    train, test = load_image_records(path)
    assert np.bincount(train.labels).tolist() == [2, 2, 2]
    assert np.bincount(test.labels).tolist() == [1, 1, 1]
    reds = [int(part[index][0].asnumpy()[0, 0, 0]) for part in (train, test) for index in range(len(part))]
    assert sorted(reds) == list(range(len(LABELS)))
    again, _ = load_image_records(tmp_path / "data")
    assert again.numbers.tolist() == train.numbers.tolist()


@pytest.mark.parametrize("name", ["test.rec", "val.rec"])
def test_a_folder_may_have_a_file_for_each_set(tmp_path: Path, name: str) -> None:
    pack(tmp_path / "train.rec")
    pack(tmp_path / name, [0, 1])
    train, test = load_image_records(tmp_path)
    assert (len(train), test.labels.tolist()) == (len(LABELS), [0, 1])


def test_labels_are_known_without_reading_images_and_workers_can_read(tmp_path: Path) -> None:
    data = ImageRecords(pack(tmp_path / "a.rec"))
    assert list_labels(data.transform_first(lambda image: image), "training set").tolist() == LABELS
    copy = pickle.loads(pickle.dumps(data))  # noqa: S301 - as DataLoader's workers do
    assert copy[3][1] == 2
    loader = gluon.data.DataLoader(data, 4, num_workers=2)
    assert np.concatenate([labels.asnumpy() for _, labels in loader]).tolist() == LABELS


@pytest.mark.parametrize(
    ("label", "found"),
    [
        (1.5, "the label 1.5"),
        (-1, "the label -1"),
        (float("nan"), "the label nan"),
        (float("inf"), "the label inf"),
        ([1.0, 2.0], "array of 2 labels"),
        (3, "below 3"),
    ],
)
def test_a_label_that_is_no_class_number_is_named_with_its_record(
    tmp_path: Path, label: Any, found: str
) -> None:
    message = message_of(pack(tmp_path / "a.rec", [0, 1, label]), classes=3)
    assert "record 2: " in message
    assert found in message


def test_a_truncated_file_is_named_with_its_record(tmp_path: Path) -> None:
    path = pack(tmp_path / "a.rec")
    content = path.read_bytes()
    starts = [record.start for record in scan_records(path)]
    for size in (starts[8] + 50, starts[8] + 6, len(content) - 8):
        path.write_bytes(content[:size])
        message = message_of(path)
        assert f"record 8 at byte {starts[8]}: truncated" in message
    path.write_bytes(content[: starts[4] + 4] + content[starts[4] + 8 :])
    assert "record 4" in message_of(path)


def test_a_file_of_another_kind_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "a.rec"
    path.write_bytes(b"")
    assert "no records" in message_of(path)
    path.write_bytes(draw(1))
    assert "record 0 at byte 0: begins with 89 50 4e 47" in message_of(path)
    assert "record 1: not a PNG or JPEG image" in message_of(pack(path, [0, 1], [draw(0), b"text"]))
    path.unlink()
    message_of(path)


def test_a_damaged_image_is_named_with_its_record_when_it_is_read(tmp_path: Path) -> None:
    data = ImageRecords(pack(tmp_path / "a.rec", [0, 1], [draw(0), draw(1)[:-20]]))
    with pytest.raises(DataError, match=r"a\.rec: record 1: the image is truncated"):
        data[1]
    assert data[0][1] == 0


def test_a_class_of_one_image_cannot_be_split_but_a_test_set_may_have_it(tmp_path: Path) -> None:
    assert "record 2: the only image of class 1" in message_of(pack(tmp_path / "a.rec", [0, 0, 1]))
    pack(tmp_path / "both" / "train.rec", [0, 0, 1])
    pack(tmp_path / "both" / "test.rec", [0])
    assert len(load_image_records(tmp_path / "both")[0]) == 3


def test_a_folder_without_one_file_is_one_line_with_what_it_has(tmp_path: Path) -> None:
    assert "no .rec file" in message_of(tmp_path)
    pack(tmp_path / "b.rec")
    pack(tmp_path / "train.rec")
    assert "has b.rec, train.rec" in message_of(tmp_path)
