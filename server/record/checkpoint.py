"""A round on disk: what the next one starts from, in one file that is whole or not there.

A checkpoint is an `.npz` file of numpy: the global arrays by name, in the model's order, then the strategy's
state under `strategy/`, with which no array's name can begin. A last member, `checkpoint.json`, holds the
rest, and a digest of all before it.
"""

import hashlib
import io
import json
import re
import struct
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord
from numpy.typing import NDArray

from fedmx import arrays
from fedmx.files import atomic_write, disk_errors, fsync_directory

FOLDER = "checkpoints"  # in a run's folder
Values = Mapping[str, Any]

_FORMAT = 1
_FACTS = "checkpoint.json"
_STATE = "strategy/"
_AFTER = ".newer"  # behind the name of a checkpoint that a run did not go on from
_READ_ERRORS = (
    OSError,  # of places in the file that are not there
    EOFError,
    KeyError,
    AttributeError,
    TypeError,
    RuntimeError,
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
)
_NAME = re.compile(r"round-(\d{4,})\.npz")


@dataclass(frozen=True)
class Facts:
    """What a checkpoint holds beside arrays.

    Attributes:
        run_id: the run.
        round: the round that is finished.
        settings: those that shape the model.
        partitions: of the run; 0 where each site has its own data.
        nodes: node name -> its partition, or None.
        line: what `history.jsonl` has of the round.
        history_bytes: the length of `history.jsonl` before that line.
        best: round and loss of the best round so far, if any was evaluated on all partitions.
    """

    run_id: str
    round: int
    settings: Values
    partitions: int
    nodes: Mapping[str, int | None]
    line: Values
    history_bytes: int
    best: Values | None


@dataclass(frozen=True)
class Checkpoint:
    """A finished round.

    Attributes:
        facts: all but the arrays.
        arrays: the global arrays, in the model's order.
        state: what the strategy carries from round to round, by name.
    """

    facts: Facts
    arrays: ArrayRecord
    state: Mapping[str, NDArray[Any]]


def path_of(folder: Path, number: int) -> Path:
    """Give the place of a round's checkpoint in a run's folder of checkpoints."""
    return folder / f"round-{number:04}.npz"


def list_rounds(folder: Path) -> list[int]:
    """Give the rounds that have a checkpoint, newest first.

    Raises:
        DataError: the folder cannot be read.
    """
    with disk_errors(folder, reads=True):
        names = [path.name for path in folder.iterdir()] if folder.exists() else []
    return sorted((int(found[1]) for name in names if (found := _NAME.fullmatch(name))), reverse=True)


def choose_kept(rounds: Iterable[int], best: int | None, keep: int) -> set[int]:
    """Say which rounds' checkpoints stay: the newest `keep`, and the best."""
    return set(sorted(rounds, reverse=True)[:keep]) | ({best} if best else set())


def save(checkpoint: Checkpoint, folder: Path) -> None:
    """Write a checkpoint; afterwards it is on the disk, whole.

    Raises:
        DataError: it cannot be written.
    """
    facts = checkpoint.facts
    with disk_errors(folder):
        folder.mkdir(exist_ok=True)
        fsync_directory(folder.parent)
    with atomic_write(path_of(folder, facts.round)) as file, zipfile.ZipFile(file, "w") as archive:
        digest = hashlib.sha256()
        for name, data in _members(checkpoint):
            archive.writestr(zipfile.ZipInfo(name), data)
            _add(digest, name, data)
        said = {"format": _FORMAT, **asdict(facts)}
        _add(digest, _FACTS, _canonical(said))
        said["sha256"] = digest.hexdigest()
        archive.writestr(zipfile.ZipInfo(_FACTS), json.dumps(said, indent=2))


def set_aside(folder: Path, after: int) -> None:
    """Let the checkpoints of later rounds be none any more: a run goes on from an earlier one.

    Raises:
        DataError: one cannot be renamed.
    """
    for number in list_rounds(folder):
        path = path_of(folder, number)
        if number > after:
            with disk_errors(path):
                path.replace(path.with_name(path.name + _AFTER))


def remove_others(folder: Path, kept: set[int]) -> None:
    """Remove the checkpoints of rounds that need none.

    Raises:
        DataError: one cannot be removed.
    """
    for number in set(list_rounds(folder)) - kept:
        path = path_of(folder, number)
        with disk_errors(path):
            path.unlink()


def load(path: Path) -> Checkpoint:
    """Read a checkpoint; nothing in it is believed before its digest fits.

    Raises:
        ValueError: it is truncated, altered, or of another format.
        DataError: the disk does not give it.
    """
    with disk_errors(path, reads=True):
        data = path.read_bytes()
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return _read(archive)
    except _READ_ERRORS as error:
        raise ValueError(f"it cannot be read: {error}") from None


def _members(checkpoint: Checkpoint) -> Iterator[tuple[str, bytes]]:
    for name, array in checkpoint.arrays.items():
        yield f"{name}.npy", array.data
    for name, values in checkpoint.state.items():
        yield f"{_STATE}{name}.npy", arrays.pack(values).data


def _add(digest: "hashlib._Hash", name: str, data: bytes) -> None:
    digest.update(f"{name}\0{len(data)}\0".encode())
    digest.update(data)


def _canonical(facts: Values) -> bytes:
    return json.dumps(facts, sort_keys=True).encode()


def _read(archive: zipfile.ZipFile) -> Checkpoint:
    said = json.loads(archive.read(_FACTS))
    if said["format"] != _FORMAT:
        raise ValueError(
            f"its format is {said['format']}, expected {_FORMAT}: another version of fedmx wrote it"
        )
    digest_said = said.pop("sha256")
    members = {name: archive.read(name) for name in archive.namelist() if name != _FACTS}
    digest = hashlib.sha256()
    for name, data in members.items():
        _add(digest, name, data)
    _add(digest, _FACTS, _canonical(said))
    if digest.hexdigest() != digest_said:
        raise ValueError("its digest does not fit what is in it")
    record, state = ArrayRecord(), {}
    for name, data in members.items():
        values = np.load(io.BytesIO(data), allow_pickle=False)
        if name.startswith(_STATE):
            state[name.removeprefix(_STATE).removesuffix(".npy")] = values
        else:
            record[name.removesuffix(".npy")] = Array(values.dtype.name, values.shape, "numpy.ndarray", data)
    return Checkpoint(Facts(**{field.name: said[field.name] for field in fields(Facts)}), record, state)
