"""A round on disk: what is read is what was written, and nothing else is believed."""

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from flwr.app import ArrayRecord

from fedmx.errors import DataError
from server.record import checkpoint
from server.record.checkpoint import Checkpoint, Facts, choose_kept
from tests.server.nodes import pack

FACTS = Facts(
    run_id="one",
    round=3,
    settings={"SEED": 5, "STRATEGY_ARGS": {"server_momentum": 0.9}},
    partitions=2,
    nodes={"b": 0, "a": 1},
    line={"round": 3, "evaluate": {"loss": 0.5}},
    history_bytes=420,
    best={"round": 2, "metric": "loss", "value": 0.25},
    stale=1,
)
ARRAYS = pack(
    {"w": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.array([7], np.int64), "e": np.zeros((0, 2))}
)
STATE = {"m_t/w": np.full((2, 3), 0.1), "clipping_norm": np.asarray(0.3)}
WHOLE = Checkpoint(FACTS, ARRAYS, STATE)


def save(folder: Path) -> Path:
    checkpoint.save(WHOLE, folder)
    return checkpoint.path_of(folder, FACTS.round)


def test_a_checkpoint_is_read_as_it_was_written_in_the_models_order(tmp_path: Path) -> None:
    read = checkpoint.load(save(tmp_path))
    assert read.facts == FACTS
    assert list(read.arrays) == ["w", "b", "e"]
    assert {name: array.data for name, array in read.arrays.items()} == {
        name: array.data for name, array in ARRAYS.items()
    }
    assert isinstance(read.arrays, ArrayRecord)
    assert {name: values.tolist() for name, values in read.state.items()} == {
        "m_t/w": STATE["m_t/w"].tolist(),
        "clipping_norm": 0.3,
    }
    assert read.state["m_t/w"].dtype == np.float64


def test_numpy_reads_the_arrays_by_name(tmp_path: Path) -> None:
    with np.load(save(tmp_path), allow_pickle=False) as file:
        assert file["w"].tolist() == [[0, 1, 2], [3, 4, 5]]


def test_a_truncated_file_is_not_loaded(tmp_path: Path) -> None:
    path = save(tmp_path)
    whole = path.read_bytes()
    for size in range(0, len(whole), 7):
        path.write_bytes(whole[:size])
        with pytest.raises(ValueError, match=r"cannot be read|members|Expecting|format"):
            checkpoint.load(path)


def test_a_byte_that_changed_is_noticed_or_changes_nothing(tmp_path: Path) -> None:
    path = save(tmp_path)
    whole = path.read_bytes()
    unnoticed = 0
    for at in range(0, len(whole), 3):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x55]) + whole[at + 1 :])
        try:
            read = checkpoint.load(path)
        except ValueError:
            continue
        unnoticed += 1
        assert read.facts == FACTS
        assert {n: a.data for n, a in read.arrays.items()} == {n: a.data for n, a in ARRAYS.items()}
        assert {n: v.tolist() for n, v in read.state.items()} == {n: v.tolist() for n, v in STATE.items()}
    # Unnoticed are times of day and other fields of the zip format that mean nothing here.
    assert unnoticed < len(whole) / 3 / 2


@pytest.mark.parametrize("name", ["w.npy", "strategy/m_t/w.npy"])
def test_a_file_that_lost_a_member_is_not_loaded(tmp_path: Path, name: str) -> None:
    path = save(tmp_path)
    with zipfile.ZipFile(path) as archive:
        members = {member: archive.read(member) for member in archive.namelist()}
    del members[name]
    with zipfile.ZipFile(path, "w") as archive:
        for member, data in members.items():
            archive.writestr(member, data)
    with pytest.raises(ValueError, match=r"^its members are not those that were written$"):
        checkpoint.load(path)


def test_a_format_of_another_version_is_named(tmp_path: Path) -> None:
    path = tmp_path / "round-0001.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("checkpoint.json", json.dumps({"format": 1}))
    with pytest.raises(ValueError, match=r"its format is \d+, expected 3"):
        checkpoint.load(path)


def test_pickled_data_is_not_loaded(tmp_path: Path) -> None:
    path = tmp_path / "round-0001.npz"
    np.savez(path, w=np.array([{"a": 1}], dtype=object))
    with pytest.raises(ValueError, match=r"checkpoint\.json"):
        checkpoint.load(path)


def test_a_checkpoint_that_cannot_be_written_leaves_the_one_before(tmp_path: Path) -> None:
    before = save(tmp_path).read_bytes()
    (tmp_path / "round-0004.npz").mkdir()
    with pytest.raises(DataError, match=r"round-0004\.npz: cannot be written: Is a directory"):
        checkpoint.save(Checkpoint(Facts(**{**vars(FACTS), "round": 4}), ARRAYS, STATE), tmp_path)
    assert checkpoint.path_of(tmp_path, 3).read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["round-0003.npz", "round-0004.npz"]


@pytest.mark.parametrize(
    ("rounds", "best", "keep", "kept"),
    [
        ([1, 2, 3, 4, 5], 2, 3, {2, 3, 4, 5}),
        ([1, 2, 3, 4, 5], 5, 3, {3, 4, 5}),
        ([1, 2, 3, 4, 5], None, 1, {5}),
        ([1], 1, 3, {1}),
        ([], None, 3, set()),
    ],
)
def test_the_newest_and_the_best_are_kept(
    rounds: list[int], best: int | None, keep: int, kept: set[int]
) -> None:
    assert choose_kept(rounds, best, keep) == kept


def test_rounds_are_listed_newest_first_and_other_files_left_out(tmp_path: Path) -> None:
    for name in ("round-0002.npz", "round-0010.npz", "round-12345.npz", ".round-0011.npz.77", "notes.txt"):
        (tmp_path / name).touch()
    assert checkpoint.list_rounds(tmp_path) == [12345, 10, 2]
    assert checkpoint.list_rounds(tmp_path / "nothing") == []
