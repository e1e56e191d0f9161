"""Datasets in npz files: which arrays are read, and what is wrong with a file in one line."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from client.data import load_npz, read_npz
from tests.client.given.messages import find_message

ROWS = np.arange(20, dtype=np.float32).reshape(10, 2)
LABELS = np.arange(10, dtype=np.uint8) % 3


def save(path: Path, **arrays: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **arrays)
    return path


def message_of(path: Path, **how: Any) -> str:
    return find_message(load_npz, path, **how)


def test_a_dataset_is_read_by_the_names_of_its_arrays(tmp_path: Path) -> None:
    path = save(tmp_path / "a.npz", examples=ROWS, labels=LABELS, x=ROWS + 1, y=LABELS + 1)
    data = read_npz(path)
    assert (data.examples == ROWS).all()
    assert data.examples.dtype == np.float32
    assert data.labels.tolist() == LABELS.tolist()
    other = read_npz(str(path), examples="x", labels="y")
    assert (other.examples[0, 0], other.labels[0]) == (1, 1)
    both = read_npz(path, examples=("x", "examples"), labels="y")
    assert [rows[0, 0] for rows in both.inputs] == [1, 0]


@pytest.mark.parametrize("write", [np.savez, np.savez_compressed])
def test_arrays_can_be_changed_in_place_whatever_their_order(tmp_path: Path, write: Any) -> None:
    write(tmp_path / "a.npz", examples=np.asfortranarray(ROWS), labels=LABELS)
    data = read_npz(tmp_path / "a.npz")
    data.examples[:] /= 2
    assert (data.examples == ROWS / 2).all()


def test_a_file_with_both_sets_is_not_split(tmp_path: Path) -> None:
    path = save(tmp_path / "mnist.npz", x_train=ROWS, y_train=LABELS, x_test=ROWS[:4], y_test=LABELS[:4])
    for place in (path, tmp_path):
        train, test = load_npz(place)
        assert (len(train), len(test)) == (10, 4)
        assert (test.examples == ROWS[:4]).all()


def test_a_file_with_one_set_is_split_in_the_same_way_at_every_call(tmp_path: Path) -> None:
    path = save(tmp_path / "a.npz", examples=ROWS, labels=LABELS)
    train, test = load_npz(path, test_share=0.3)
    assert (len(train), len(test)) == (7, 3)
    assert sorted([*train.examples[:, 0], *test.examples[:, 0]]) == ROWS[:, 0].tolist()
    assert (np.diff(train.examples[:, 0]) > 0).all()
    again, _ = load_npz(path, test_share=0.3)
    assert (again.examples == train.examples).all()
    for rows in (train, test):
        assert rows.labels.tolist() == (rows.examples[:, 0] // 2 % 3).tolist()
    assert [
        len(part) for part in load_npz(save(tmp_path / "b.npz", examples=ROWS[:1], labels=LABELS[:1]))
    ] == [
        1,
        1,
    ]


def test_a_folder_may_have_a_file_for_each_set(tmp_path: Path) -> None:
    save(tmp_path / "train.npz", x=ROWS, y=LABELS)
    save(tmp_path / "test.npz", x=ROWS[:4], y=LABELS[:4])
    assert [len(part) for part in load_npz(tmp_path, examples="x", labels="y")] == [10, 4]


def test_a_missing_array_is_named_with_those_there_are(tmp_path: Path) -> None:
    message = message_of(save(tmp_path / "a.npz", x=ROWS, y=LABELS))
    assert "has x, y; expected an array 'examples'" in message
    message = message_of(save(tmp_path / "b.npz", x_train=ROWS, y_train=LABELS, x_test=ROWS))
    assert "'y_test'" in message


@pytest.mark.parametrize(
    ("labels", "found"),
    [
        (np.array(["a"] * 10), "array 'labels'"),
        (np.array([{}] * 10), "array 'labels'"),
        (LABELS[:9], "10 examples, but 9 labels"),
        (np.float32(1), "shape ()"),
    ],
)
def test_labels_that_are_no_numbers_or_too_few_are_named(tmp_path: Path, labels: Any, found: str) -> None:
    assert found in message_of(save(tmp_path / "a.npz", examples=ROWS, labels=labels))


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> Any:
            return (tmp_path.joinpath("sprung").touch, ())

    np.savez(tmp_path / "a.npz", examples=ROWS, labels=np.array([Trap()] * 10))
    assert "labels" in message_of(tmp_path / "a.npz")
    assert not (tmp_path / "sprung").exists()
    # The trap works.
    pickle.loads(pickle.dumps(Trap()))  # noqa: S301 - it is this test's own
    assert (tmp_path / "sprung").exists()


def test_a_truncated_or_damaged_file_is_one_line(tmp_path: Path) -> None:
    path = save(tmp_path / "a.npz", examples=ROWS, labels=LABELS)
    content = path.read_bytes()
    path.write_bytes(content[:-30])
    assert "not a whole .npz file" in message_of(path)
    place = content.index(ROWS.tobytes())
    path.write_bytes(content[:place] + b"\xff" + content[place + 1 :])
    assert "array 'examples': damaged" in message_of(path)
    path.write_bytes(b"")
    assert "not a whole .npz file" in message_of(path)


def test_a_folder_without_one_file_is_one_line_with_what_it_has(tmp_path: Path) -> None:
    assert "no .npz file" in message_of(tmp_path)
    save(tmp_path / "b.npz", examples=ROWS, labels=LABELS)
    save(tmp_path / "a.npz", examples=ROWS, labels=LABELS)
    assert "has a.npz, b.npz" in message_of(tmp_path)
    message_of(tmp_path / "nowhere.npz")
