"""The history of a run, `history.jsonl`: one line per round, on the disk before the next round begins."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fedmx.files import atomic_write, disk_errors, open_regular, read_regular
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
        return any(isinstance(line, dict) and line.get("evaluate") for line in self._read())

    def read_newest(self) -> Mapping[str, Any] | None:
        """Return the newest line; None if there is none, or it cannot be read."""
        newest = next(reversed(self._read()), None)
        return newest if isinstance(newest, dict) else None

    def append(self, line: Mapping[str, Any]) -> None:
        """Append a round's line."""
        with disk_errors(self._path), self._path.open("a") as file:
            file.write(json.dumps(line, allow_nan=False) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def amend(self, entries: Mapping[str, Any]) -> None:
        """Add entries to the newest line."""
        with disk_errors(self._path, reads=True):
            *before, newest = read_regular(self._path).decode().splitlines()
        amended = json.dumps({**json.loads(newest), **entries}, allow_nan=False)
        with atomic_write(self._path) as file:
            file.write("".join(f"{line}\n" for line in [*before, amended]).encode())

    def truncate(self, size: int) -> None:
        """Remove the lines after the first `size` bytes, and a line of which only a part was written."""
        with disk_errors(self._path, reads=True):
            data = read_regular(self._path)[:size] if self._path.exists() else b""
        whole = data.rfind(b"\n") + 1
        if whole < size:
            warn("lines of the history are lost", file=self._path, found=whole, expected=size)
        unreadable = [number for number, line in enumerate(self._read(), 1) if not isinstance(line, dict)]
        if unreadable:
            warn("lines of the history cannot be read", file=self._path, lines=unreadable)
        with disk_errors(self._path):
            self._path.touch()
            os.truncate(self._path, whole)

    def _read(self) -> list[Any]:
        """Parse every line; None stands for one that cannot be read, which does not stop a run."""
        with disk_errors(self._path, reads=True):
            lines = read_regular(self._path).splitlines() if self._path.exists() else []
        return [_parse(line) for line in lines]


class HistoryTail:
    """Reads the rounds of a history as they are added.

    Args:
        folder: the run's.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / "history.jsonl"
        self._done = self._read = 0

    def read(self, most: int) -> list[dict[str, Any]]:
        """Return up to `most` of the next rounds, the same ones again until `mark_done` is called.

        Lines that cannot be read are left out.

        Raises:
            OSError: the file cannot be read.
        """
        lines: list[dict[str, Any]] = []
        self._read = self._done
        if not self._path.is_file():
            return lines
        with open_regular(self._path) as file:
            file.seek(self._done)
            for text in file:
                # A line without its end is still being written.
                if not text.endswith(b"\n") or len(lines) == most:
                    break
                line = _parse(text)
                if isinstance(line, dict) and isinstance(line.get("round"), int):
                    lines.append(line)
                self._read += len(text)
        return lines

    def mark_done(self) -> None:
        """Mark the rounds that were read last as done."""
        self._done = self._read


def _parse(line: bytes) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None
