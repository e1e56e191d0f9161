"""A round on disk: what the next one starts from, in one file that is complete or absent.

A checkpoint is an `.npz` file of numpy: the global arrays by name, in the model's order, then the strategy's
state under `strategy/`, with which no array's name can begin. The last member, `checkpoint.json`, has the
rest, and lists the members before it. The zip format has a CRC of each member, and the file takes its name
only once all of it is on the disk, so that damage and an interrupted write are both noticed.
"""

import io
import json
import re
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord
from numpy.typing import NDArray

from fedmx import arrays
from fedmx.files import disk_errors, fsync_directory
from server.record import npz

FOLDER = "checkpoints"
"""Name of the folder of checkpoints in a run's folder."""

Values = Mapping[str, Any]
State = Mapping[str, NDArray[Any]]

_FORMAT = 3
_FACTS = "checkpoint.json"
_STATE = "strategy/"
# The end of the name of a checkpoint that is newer than the one from which the run was resumed.
_AFTER = ".newer"
_NAME = re.compile(r"round-(\d{4,})\.npz")


@dataclass(frozen=True)
class Facts:
    """What a checkpoint has beside arrays.

    Attributes:
        run_id: the run.
        round: the round that is finished.
        settings: those that shape the model.
        partitions: of the run; 0 where each site has its own data.
        nodes: node name -> its partition, or None.
        line: the round's line in `history.jsonl`.
        history_bytes: the length of `history.jsonl` before that line.
        best: round, metric and value of the best round so far, if any was evaluated on all partitions.
        stale: number of rounds after the best one that were evaluated on all partitions.
    """

    run_id: str
    round: int
    settings: Values
    partitions: int
    nodes: Mapping[str, int | None]
    line: Values
    history_bytes: int
    best: Values | None
    stale: int


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
    state: State


def path_of(folder: Path, number: int) -> Path:
    """Return the path of a round's checkpoint in a run's folder of checkpoints."""
    return folder / f"round-{number:04}.npz"


def list_rounds(folder: Path) -> list[int]:
    """List the rounds that have a checkpoint, newest first.

    Raises:
        DataError: the folder cannot be read.
    """
    with disk_errors(folder, reads=True):
        names = [path.name for path in folder.iterdir()] if folder.exists() else []
    return sorted((int(found[1]) for name in names if (found := _NAME.fullmatch(name))), reverse=True)


def choose_kept(rounds: Iterable[int], best: int | None, keep: int) -> set[int]:
    """Return the rounds whose checkpoints stay: the newest `keep`, and the best."""
    return set(sorted(rounds, reverse=True)[:keep]) | ({best} if best else set())


def save(checkpoint: Checkpoint, folder: Path) -> None:
    """Write a checkpoint; afterwards it is on the disk.

    Raises:
        DataError: it cannot be written.
    """
    with disk_errors(folder):
        folder.mkdir(exist_ok=True)
        fsync_directory(folder.parent)
    npz.save(_members(checkpoint), path_of(folder, checkpoint.facts.round))


def set_aside(folder: Path, after: int) -> None:
    """Rename the checkpoints of later rounds, so that they are no longer found: an earlier one is resumed.

    Raises:
        DataError: one cannot be renamed.
    """
    for number in list_rounds(folder):
        path = path_of(folder, number)
        if number > after:
            with disk_errors(path):
                path.replace(path.with_name(path.name + _AFTER))


def remove_others(folder: Path, kept: set[int]) -> None:
    """Remove the checkpoints of all other rounds.

    Raises:
        DataError: one cannot be removed.
    """
    for number in set(list_rounds(folder)) - kept:
        path = path_of(folder, number)
        with disk_errors(path):
            path.unlink()


def load(path: Path) -> Checkpoint:
    """Read a checkpoint.

    Raises:
        ValueError: it is truncated, altered, or has another format.
        DataError: the disk fails to read it.
    """
    with disk_errors(path, reads=True):
        data = path.read_bytes()
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return _read(archive)
    except npz.READ_ERRORS as error:
        raise ValueError(f"it cannot be read: {error}") from None


def _members(checkpoint: Checkpoint) -> Iterator[npz.Member]:
    state = {name: arrays.pack(values) for name, values in checkpoint.state.items()}
    names = []
    for name, data in (*npz.members_of(checkpoint.arrays), *npz.members_of(state, _STATE)):
        names.append(name)
        yield name, data
    facts = {"format": _FORMAT, "members": names, **asdict(checkpoint.facts)}
    yield _FACTS, json.dumps(facts, indent=2).encode()


def _read(archive: zipfile.ZipFile) -> Checkpoint:
    facts = json.loads(archive.read(_FACTS))
    if facts["format"] != _FORMAT:
        raise ValueError(
            f"its format is {facts['format']}, expected {_FORMAT}: another version of fedmx wrote it"
        )
    # Damage to the zip's directory can hide a member, which no CRC would notice.
    if archive.namelist() != [*facts["members"], _FACTS]:
        raise ValueError("its members are not those that were written")
    record = ArrayRecord()
    state: dict[str, NDArray[Any]] = {}
    for name in facts["members"]:
        data = archive.read(name)
        values = np.load(io.BytesIO(data), allow_pickle=False)
        if name.startswith(_STATE):
            state[name.removeprefix(_STATE).removesuffix(".npy")] = values
        else:
            record[name.removesuffix(".npy")] = Array(values.dtype.name, values.shape, "numpy.ndarray", data)
    return Checkpoint(Facts(**{field.name: facts[field.name] for field in fields(Facts)}), record, state)
