"""Decides which datasets are kept in DATA_CACHE, and what an entry depends on.

Kept are sets of arrays. Lazy datasets and memory maps are not: their tasks read no more than they need. What
a task reads outside of DATA_DIR, or from the environment, is not part of an entry's key.
"""

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from client.cache.entry import DamagedError, Entry
from client.cache.sources import digest_sources
from client.data import Dataset
from client.data.lazy import AnyDataset
from client.task import Task
from fedmx import __version__
from fedmx.log import event, warn

Sets = tuple[AnyDataset, AnyDataset]
_File = tuple[str, int, int, int]

# Raised when entries of an earlier form cannot be read.
_FORM = 1
# A longer list of files takes as long as decoding them: such folders have images, which are read lazily.
_MOST_FILES = 10_000


def with_cache(task: Task, folder: Path, *others: str) -> Task:
    """Return a task whose dataset is read from a cache, or written to it.

    Args:
        task: reads the dataset.
        folder: DATA_CACHE.
        others: what else its arrays depend on.
    """

    def load(data_dir: Path) -> Sets:
        key = _find_key(task, data_dir, others)
        if key is None:
            return task.load_data(data_dir)
        entry = Entry(folder / _hash([task.name, str(data_dir.resolve())])[:16], key)
        kept = _read(entry)
        if kept is not None:
            return kept
        sets = task.load_data(data_dir)
        # Files that changed while they were read belong to no key.
        if _find_key(task, data_dir, others) == key:
            _write(entry, sets)
        return sets

    return replace(task, load_data=load)


def _read(entry: Entry) -> Sets | None:
    try:
        return entry.read()
    except DamagedError as error:
        warn("left out a damaged dataset of DATA_CACHE", folder=entry.folder, reason=error)
        entry.remove()
        return None


def _write(entry: Entry, sets: Sets) -> None:
    arrays = [data for data in sets if isinstance(data, Dataset) and not data.is_mapped]
    if len(arrays) < len(sets):
        return
    try:
        entry.write(arrays)
    except OSError as error:
        warn("cannot keep a dataset in DATA_CACHE", folder=entry.slot, reason=error.strerror or error)
    else:
        event("dataset cached", folder=entry.folder)


def _find_key(task: Task, data_dir: Path, others: tuple[str, ...]) -> str | None:
    """Return a digest of what a dataset depends on; None if the files cannot be listed or are too many."""
    try:
        files = list(_list_files(data_dir))
    except (OSError, OverflowError):
        return None
    schema = None if task.schema is None else task.schema.to_json()
    versions = [_FORM, __version__, np.__version__]
    code = [task.name, digest_sources(task.name), task.options, schema]
    return _hash([versions, code, str(data_dir.resolve()), files, others])


def _list_files(folder: Path) -> Iterator[_File]:
    """Yield the name of each file below a folder, its size, and when its content and its inode changed.

    Raises:
        OSError: a file or folder cannot be read.
        OverflowError: there are too many files.
    """
    count = 0
    for path, folders, names in os.walk(folder, onerror=_fail, followlinks=True):
        folders.sort()
        for name in sorted(names):
            count += 1
            if count > _MOST_FILES:
                raise OverflowError
            file = Path(path, name)
            found = file.stat()
            yield str(file.relative_to(folder)), found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _fail(error: OSError) -> None:
    raise error


def _hash(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()
