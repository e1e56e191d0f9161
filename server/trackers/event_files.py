"""Writes TensorBoard's event files: the records, and which file each one goes to.

tensorboardX's own writer needs a thread and an open file for each TensorBoard run. A federation may have
hundreds of nodes with a TensorBoard run each, so only the messages and checksums of tensorboardX are used.
"""

import json
import re
import shutil
import struct
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.proto.summary_pb2 import Summary
from tensorboardX.record_writer import masked_crc32c
from tensorboardX.summary import hparams, text

from fedmx.fields import list_names
from fedmx.run_settings import RunSettings
from server.record.series import list_node_values, list_values

Line = Mapping[str, Any]

# Not allowed in the name of a folder. Names of nodes on fedmx's own link never contain it.
_UNSAFE = re.compile(r"[^\w.-]|^\.+")


class EventFiles:
    """The files of one run. None of them stays open between two calls.

    Args:
        folder: the run's, with a folder for each node.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._paths: dict[str, Path] = {}

    def remove(self) -> None:
        """Remove all files of the run."""
        shutil.rmtree(self._folder, ignore_errors=True)
        self._paths.clear()

    def write_settings(self, settings: Mapping[str, object], metric: str) -> None:
        """Write all settings as text, and those of the run as hyperparameters, to compare runs by.

        Args:
            settings: by environment name.
            metric: of the evaluation, which TensorBoard shows beside the settings.

        Raises:
            OSError: they cannot be written.
        """
        rows = [f"| {name} | {_escape(value)} |" for name, value in settings.items()]
        table = text("settings", "\n".join(["| setting | value |", "| --- | --- |", *rows]))
        names = set(list_names(RunSettings))
        compared = {name: _simplify(value) for name, value in settings.items() if name in names}
        experiment, start, _ = hparams(compared, {f"evaluate/{metric}": 0.0})
        now = time.time()
        events = (Event(wall_time=now, summary=summary) for summary in (table, experiment, start))
        self._append("", [_pack(event) for event in events], 0)

    def write_rounds(self, lines: Iterable[Line]) -> None:
        """Write rounds, as lines of `history.jsonl` have them.

        Raises:
            OSError: they cannot be written.
        """
        lines = list(lines)
        records: dict[str, list[bytes]] = defaultdict(list)
        for line in lines:
            records[""].append(_pack_values(list_values(line), line))
            for name, values in list_node_values(line):
                records[_UNSAFE.sub("_", name)].append(_pack_values(values, line))
        for name, packed in records.items():
            self._append(name, packed, lines[0]["round"])

    def _append(self, name: str, records: Iterable[bytes], first: int) -> None:
        """Append records to a node's file, or to the federation's, which has no name.

        Args:
            name: the node's.
            records: the records.
            first: the first round in them. TensorBoard drops this round and later ones from earlier files.
        """
        path = self._paths.pop(name, None)
        if path is None:
            path = self._choose_path(name)
            records = [*_pack_head(first), *records]
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as file:
            file.write(b"".join(records))
        # After an error, the next call begins a new file: half a record makes the rest unreadable.
        self._paths[name] = path

    def _choose_path(self, name: str) -> Path:
        """Return the path of a new file. TensorBoard reads the files of a folder by their names' order."""
        seconds, nanoseconds = divmod(time.time_ns(), 10**9)
        return self._folder / name / f"events.out.tfevents.{seconds}.{nanoseconds:09}.fedmx"


def _pack_head(first: int) -> list[bytes]:
    now = time.time()
    start = SessionLog(status=SessionLog.START)
    return [
        _pack(Event(wall_time=now, file_version="brain.Event:2")),
        _pack(Event(wall_time=now, step=first, session_log=start)),
    ]


def _pack_values(values: Mapping[str, float], line: Line) -> bytes:
    summary = Summary(value=[Summary.Value(tag=name, simple_value=value) for name, value in values.items()])
    # Rounds from an earlier version of fedmx have no time.
    ended = datetime.fromisoformat(line["time"]).timestamp() if line.get("time") else time.time()
    return _pack(Event(wall_time=ended, step=line["round"], summary=summary))


def _pack(event: Event) -> bytes:
    """Return a record: its length and its bytes, each followed by its checksum."""
    data = event.SerializeToString()
    length = struct.pack("<Q", len(data))
    return b"".join([length, _checksum(length), data, _checksum(data)])


def _checksum(data: bytes) -> bytes:
    return struct.pack("<I", masked_crc32c(data))


def _escape(value: object) -> str:
    """Return a setting's value as a cell of a table."""
    return " ".join(str(_simplify(value)).split()).replace("|", "\\|")


def _simplify(value: object) -> str | float:
    return value if isinstance(value, str | float | int) else json.dumps(value)
