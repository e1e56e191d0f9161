"""The history of a run, `history.jsonl`: one line per round, on the disk before the next round begins."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fedmx.files import disk_errors
from fedmx.log import warn


class History:
    """The file of one run. All of it raises `DataError` where the disk fails.

    Args:
        folder: the run's.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / "history.jsonl"

    @property
    def size(self) -> int:
        """The bytes of the file."""
        with disk_errors(self._path):
            return self._path.stat().st_size if self._path.exists() else 0

    @property
    def is_evaluated(self) -> bool:
        """Whether at least one round was evaluated."""
        with disk_errors(self._path, reads=True):
            lines = self._path.read_text().splitlines() if self._path.exists() else []
        return any(json.loads(line)["evaluate"] for line in lines)

    def append(self, line: Mapping[str, Any]) -> None:
        """Append a round's line."""
        with disk_errors(self._path), self._path.open("a") as file:
            file.write(json.dumps(line, allow_nan=False) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def truncate(self, size: int) -> None:
        """Remove the lines after the first `size` bytes, and a line of which only a part was written."""
        with disk_errors(self._path, reads=True):
            data = self._path.read_bytes()[:size] if self._path.exists() else b""
        whole = data.rfind(b"\n") + 1
        if whole < size:
            warn("lines of the history are lost", file=self._path, found=whole, expected=size)
        with disk_errors(self._path):
            self._path.touch()
            os.truncate(self._path, whole)
