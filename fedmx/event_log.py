"""The event log, `events.jsonl`: joins, leaves, refusals, certificates and runs, as JSON lines.

It does not depend on LOG_LEVEL or LOG_FORMAT, and its folder outlives containers. Several processes may
append to one file: each locks it and writes a whole line to its end. A log that cannot be
written costs one WARNING.

Anyone who reaches an open port can cause events. Therefore each source is limited per period, further events
are only counted, and the file is rotated: all files together never exceed a few times `_MAX_BYTES`.
"""

import errno
import fcntl
import itertools
import json
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fedmx.files import NotRegularError, check_regular, read_regular
from fedmx.log import warn

FILE = "events.jsonl"
_MAX_BYTES = 5_000_000
_OLD_FILES = 3
_PERIOD_S = 300.0
# Lines per period: of one event from one source, of one event from all sources, and of counts.
_MOST_OF_SOURCE = 10
_MOST_OF_EVENT = 1_000
_MOST_COUNTS = 100
# Otherwise, anyone who reaches an open port could fill the memory with sources.
_MOST_SOURCES = 4_096
_LONGEST = 400
# The files that could not be written. The link and the run each have an EventLog for the same file.
_warned_of: set[Path] = set()


@dataclass
class _Source:
    """The events of a source in this period.

    Attributes:
        lines: how many lines were written.
        left_out: how many events were only counted.
        fields: those of the newest event that was only counted.
    """

    lines: int = 0
    left_out: int = 0
    fields: Mapping[str, object] = field(default_factory=dict)


class EventLog:
    """Appends events to the file of a folder; any thread may call it.

    Args:
        folder: where the file is; it must exist.
        max_bytes: the size at which the file is rotated.
        clock: monotonic seconds.
    """

    def __init__(
        self, folder: Path, max_bytes: int = _MAX_BYTES, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._path = folder / FILE
        self._max_bytes = max_bytes
        self._clock = clock
        self._lock = threading.Lock()
        # By event and source. The empty source counts those beyond `_MOST_SOURCES`.
        self._sources: dict[tuple[str, str], _Source] = {}
        self._lines: Counter[str] = Counter()
        self._since = clock()

    def note(self, event: str, source: str = "", **fields: object) -> None:
        """Append an event, without the fields that are None.

        Args:
            event: its constant name.
            source: who caused it, and is therefore limited; empty for events of this program itself.
            fields: its details.
        """
        known = {name: value for name, value in fields.items() if value is not None}
        with self._lock:
            if self._clock() - self._since >= _PERIOD_S:
                self._end_period()
            if not source or self._may_write(event, source, known):
                self._write({"time": _now(), "event": event, **known})

    def report(self) -> None:
        """Write how many events were only counted, if a period is over."""
        with self._lock:
            if self._clock() - self._since >= _PERIOD_S:
                self._end_period()

    def report_now(self) -> None:
        """Write how many events were only counted, and begin a new period."""
        with self._lock:
            self._end_period()

    def _may_write(self, event: str, source: str, fields: Mapping[str, object]) -> bool:
        """Return whether an event is within the limits of its source; otherwise count it."""
        key = (event, source)
        if key not in self._sources and len(self._sources) >= _MOST_SOURCES:
            key = (event, "")
        found = self._sources.setdefault(key, _Source())
        if found.lines < _MOST_OF_SOURCE and self._lines[event] < _MOST_OF_EVENT:
            found.lines += 1
            self._lines[event] += 1
            return True
        found.left_out += 1
        found.fields = fields
        return False

    def _end_period(self) -> None:
        counts = {"in_s": round(self._clock() - self._since)}
        repeated = [(event, found) for (event, _), found in self._sources.items() if found.left_out]
        for event, found in repeated[:_MOST_COUNTS]:
            self._write({"time": _now(), "event": event, **found.fields, "times": found.left_out, **counts})
        rest: Counter[str] = Counter()
        for event, found in repeated[_MOST_COUNTS:]:
            rest[event] += found.left_out
        for event, times in rest.items():
            self._write({"time": _now(), "event": event, "sources": "others", "times": times, **counts})
        self._sources = {}
        self._lines = Counter()
        self._since = self._clock()

    def _write(self, line: Mapping[str, object]) -> None:
        # json.dumps escapes all but ASCII, so even a lone surrogate can be encoded.
        data = json.dumps({name: _shorten(value) for name, value in line.items()}, default=str).encode()
        try:
            self._append(data + b"\n")
        except OSError as error:
            if self._path not in _warned_of:
                _warned_of.add(self._path)
                warn("cannot write the event log", file=self._path, cause=error.strerror or error)

    def _append(self, data: bytes) -> None:
        """Append a line, and rotate the file if it is full.

        Raises:
            OSError: it was written only in part, or not at all.
        """
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NONBLOCK | os.O_CLOEXEC
        descriptor = os.open(self._path, flags, 0o666)
        try:
            # A full pipe would stop the program.
            check_regular(descriptor)
            # Without the lock, the size could be seen in the middle of another process's write.
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            size = os.fstat(descriptor).st_size
            # An earlier process may have written a line only in part, which must not corrupt this one.
            if size and os.pread(descriptor, 1, size - 1) != b"\n":
                data = b"\n" + data
            if os.write(descriptor, data) < len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            if size + len(data) >= self._max_bytes:
                self._rotate(descriptor)
        finally:
            os.close(descriptor)

    def _rotate(self, descriptor: int) -> None:
        """Make the full file the newest old one, unless another process has done so.

        Args:
            descriptor: of the full file, which is locked.
        """
        try:
            is_rotated = not os.path.samestat(os.fstat(descriptor), self._path.stat())
        except FileNotFoundError:
            is_rotated = True
        if is_rotated:
            return
        files = [self._path, *_old_files(self._path.parent)]
        for newer, older in reversed(list(itertools.pairwise(files))):
            with suppress(FileNotFoundError):
                newer.replace(older)


def read_events(folder: Path) -> list[dict[str, Any]]:
    """Read the events of a folder, oldest first; a line that cannot be read is skipped, and so is a pipe.

    Raises:
        OSError: a file exists but cannot be read.
    """
    events = []
    for path in (*reversed(_old_files(folder)), folder / FILE):
        with suppress(FileNotFoundError, NotRegularError):
            events += [found for line in read_regular(path).splitlines() if (found := _parse(line))]
    return events


def _old_files(folder: Path) -> list[Path]:
    """Return the paths of rotated files, newest first."""
    stem, _, suffix = FILE.partition(".")
    return [folder / f"{stem}.{number}.{suffix}" for number in range(1, _OLD_FILES + 1)]


def _parse(line: bytes) -> dict[str, Any] | None:
    try:
        event = json.loads(line)
    except (ValueError, RecursionError):
        return None
    is_event = isinstance(event, dict) and all(isinstance(event.get(name), str) for name in ("time", "event"))
    return event if is_event else None


def _shorten(value: object) -> object:
    return value[:_LONGEST] if isinstance(value, str) else value


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")
