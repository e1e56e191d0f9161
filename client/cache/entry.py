"""An entry of the cache on disk: a folder of .npy files, and a manifest with the digest of each.

The folder is renamed into its place once it is complete, so that processes which write at the same time do
not disturb each other, nor those that read. Arrays are mapped into memory: processes share their pages. A
digest finds damage by chance, not by intent, so a folder in which another user can write is not used.
"""

import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from client.data import Dataset

_MANIFEST = "manifest.json"
_SETS = ("train", "test")
# Words of 8 bytes that are added up before they are hashed: many times faster than hashing all bytes.
_BLOCK = 4096
# What a killed process left behind is removed after this time.
_STALE_S = 3600.0


class DamagedError(ValueError):
    """An entry is not what was written."""


@dataclass(frozen=True)
class Entry:
    """The place of one dataset.

    Attributes:
        slot: the folder of all entries of a task and DATA_DIR, of which one is kept.
        key: the digest of what the dataset depends on.
    """

    slot: Path
    key: str

    @property
    def folder(self) -> Path:
        """The folder of the entry."""
        return self.slot / self.key

    def read(self) -> tuple[Dataset, Dataset] | None:
        """Return the training and the test set; None if they are not there.

        Raises:
            DamagedError: a file is not what was written.
        """
        try:
            _check_owner(self.slot)
            digests = json.loads((self.folder / _MANIFEST).read_bytes())
            if not isinstance(digests, dict):
                raise DamagedError(f"{_MANIFEST} is not a JSON object")
            train, test = (self._read_set(name, digests) for name in _SETS)
        # Another process may have removed it a moment ago.
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise DamagedError(str(error)) from None
        return train, test

    def write(self, sets: Sequence[Dataset]) -> None:
        """Write both sets, and remove what is of no use any more.

        Raises:
            OSError: they cannot be written; there is no trace of them then.
        """
        self.slot.mkdir(mode=0o700, parents=True, exist_ok=True)
        _check_owner(self.slot)
        part = Path(tempfile.mkdtemp(prefix=f".{self.key[:16]}-", dir=self.slot))
        try:
            _write_sets(part, sets)
            self._remove_others()
            part.rename(self.folder)
        except OSError:
            # Another process that wrote the same dataset may have been faster.
            if not (self.folder / _MANIFEST).exists():
                raise
        finally:
            shutil.rmtree(part, ignore_errors=True)

    def remove(self) -> None:
        """Remove the entry."""
        _remove(self.folder)

    def _read_set(self, name: str, digests: dict[str, Any]) -> Dataset:
        files = [f"{name}-{number}.npy" for number in range(len(digests))]
        inputs = tuple(self._read_array(file, digests[file]) for file in files if file in digests)
        labels = f"{name}-labels.npy"
        if not inputs or labels not in digests:
            raise DamagedError(f"{_MANIFEST} does not have all files")
        return Dataset(inputs, self._read_array(labels, digests[labels]))

    def _read_array(self, file: str, digest: object) -> NDArray[Any]:
        path = self.folder / file
        if _digest(path) != digest:
            raise DamagedError(f"{file} has another digest than {_MANIFEST}")
        # As an array in memory: one that is known as a map would be read batch by batch.
        mapped: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
        return mapped.view(np.ndarray)

    def _remove_others(self) -> None:
        now = time.time()
        for other in self.slot.iterdir():
            is_part = other.name.startswith(".")
            if other != self.folder and not (is_part and now - other.lstat().st_mtime < _STALE_S):
                _remove(other)


def _check_owner(folder: Path) -> None:
    """Check that no other user can write in a folder.

    Raises:
        OSError: another user can, or the folder does not exist.
    """
    found = folder.stat()
    if found.st_uid != os.geteuid() or found.st_mode & 0o022:
        raise OSError(f"{folder}: another user can write in it; expected a folder of this user alone")


def _write_sets(folder: Path, sets: Sequence[Dataset]) -> None:
    arrays: dict[str, NDArray[Any]] = {}
    for name, data in zip(_SETS, sets, strict=True):
        arrays |= {f"{name}-{number}.npy": rows for number, rows in enumerate(data.inputs)}
        arrays[f"{name}-labels.npy"] = data.labels
    needed = sum(array.nbytes for array in arrays.values())
    free = shutil.disk_usage(folder).free
    if needed >= free:
        raise OSError(f"{needed} bytes are needed and {free} are free")
    for file, array in arrays.items():
        np.save(folder / file, array, allow_pickle=False)
    digests = {file: _digest(folder / file) for file in arrays}
    (folder / _MANIFEST).write_text(json.dumps(digests))


def _remove(folder: Path) -> None:
    """Remove a folder in one step for those who look for it."""
    hidden = folder.with_name(f".{folder.name.lstrip('.')[:16]}-{os.getpid()}-old")
    try:
        folder.rename(hidden)
    except OSError:
        hidden = folder
    shutil.rmtree(hidden, ignore_errors=True)


def _digest(path: Path) -> str:
    """Return a digest of a file's bytes that any damage by chance changes."""
    content = np.fromfile(path, np.uint8) if not path.stat().st_size else np.memmap(path, np.uint8, "r")
    count = len(content) // (8 * _BLOCK) * 8 * _BLOCK
    blocks = content[:count].view(np.uint64).reshape(-1, _BLOCK)
    digest = hashlib.sha256(f"{len(content)};".encode())
    digest.update(blocks.sum(axis=1, dtype=np.uint64).tobytes())
    digest.update(content[count:].tobytes())
    return digest.hexdigest()
