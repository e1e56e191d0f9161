"""What happened in a run, on disk: its folder, `run.json`, `history.jsonl`."""

import contextlib
import json
import os
import platform
import shutil
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from flwr.app import Array

from fedmx import __version__, arrays
from fedmx.errors import DataError
from fedmx.fields import describe
from fedmx.files import atomic_write, disk_errors, fsync_directory
from fedmx.log import warn
from fedmx.settings import ServerSettings
from server import model
from server.record import checkpoint, mxnet_params
from server.record.checkpoint import Facts
from server.record.runs import FORMAT, NewestRun


class History:
    """The record of one run, one that ends before its first round included.

    All of it raises `DataError` where the disk does not take it.

    Args:
        folder: the run's, which is there.
        facts: what `run.json` is to say.
    """

    def __init__(self, folder: Path, facts: dict[str, Any]) -> None:
        self.folder = folder
        self._facts = facts
        self._write_facts()

    @classmethod
    def begin(cls, runs_dir: Path, run_id: str, settings: ServerSettings) -> "History":
        """Make the folder of a new run, and have `latest` name it."""
        folder, link = runs_dir / run_id, runs_dir / ".latest.part"
        facts: dict[str, Any] = {
            "format": FORMAT,
            "run_id": run_id,
            "status": "running",
            "started": _now(),
            "finished": None,
            "resumed": [],
            "seed": settings.seed,
            "partitions": 0,
            "nodes": {},
            "description": None,
            "model_bytes": None,
            "rounds": 0,
            "releases": [],
            "best": None,
            "model_sha256": None,
            "settings": describe(settings),
            "versions": versions(),
        }
        with disk_errors(folder):
            folder.mkdir(parents=True)
        try:
            record = cls(folder, facts)
            with disk_errors(runs_dir / "latest"):
                link.unlink(missing_ok=True)
                link.symlink_to(run_id)
                link.replace(runs_dir / "latest")
                fsync_directory(runs_dir)
        except DataError:
            shutil.rmtree(folder, ignore_errors=True)  # a run that is not on record is none
            with contextlib.suppress(OSError):
                link.unlink()
            raise
        return record

    @classmethod
    def resume(cls, run: NewestRun, settings: ServerSettings, done: Facts | None) -> "History":
        """Go on with a run after the round that its checkpoint is of: what came later is taken back.

        Args:
            run: as it is on disk.
            settings: what the server is told now.
            done: of the checkpoint; None before the end of round 1.
        """
        if done:
            checkpoint.set_aside(run.folder / checkpoint.FOLDER, after=done.round)
        _cut(run.folder / "history.jsonl", done.history_bytes if done else 0)
        facts = {name: value for name, value in run.facts.items() if name not in ("reason", "exit_code")}
        facts |= {
            "status": "running",
            "finished": None,
            "resumed": [*facts["resumed"], _now()],
            "best": done.best if done else None,
            "settings": describe(settings),
            "versions": versions(),
        }
        record = cls(run.folder, facts)
        if done:
            record.add_round(done.line, done.best)
        return record

    @property
    def releases(self) -> list[float]:
        """The noise multiplier of each model that may have reached nodes, with differential privacy."""
        releases: list[float] = self._facts["releases"]
        return releases

    @property
    def best(self) -> Mapping[str, Any] | None:
        """Round and loss of the best round that was evaluated on all partitions, if there is one."""
        best: Mapping[str, Any] | None = self._facts["best"]
        return best

    @property
    def size(self) -> int:
        """The bytes of `history.jsonl`."""
        path = self.folder / "history.jsonl"
        with disk_errors(path):
            return path.stat().st_size if path.exists() else 0

    def note_nodes(
        self,
        nodes: Mapping[str, int | None],
        partitions: int,
        description: Mapping[str, Any],
        model_bytes: int,
    ) -> None:
        """Note who takes part, before anyone trains: a repeated round 1 is to find it the same.

        Args:
            nodes: node name -> its partition, or None.
            partitions: in all.
            description: what all of them agree on.
            model_bytes: the size of its arrays.
        """
        self._facts |= {
            "nodes": dict(nodes),
            "partitions": partitions,
            "description": dict(description),
            "model_bytes": model_bytes,
        }
        self._write_facts()

    def note_release(self, noise_multiplier: float) -> None:
        """Note that a model with this noise is about to be sent: from now on it counts as spent."""
        self.releases.append(noise_multiplier)
        self._write_facts()

    def judge(self, line: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """Give round and loss of the best round up to this one, which was evaluated on all partitions."""
        evaluated = line["evaluate"]
        if evaluated and (self.best is None or evaluated["loss"] < self.best["loss"]):
            return {"round": line["round"], "loss": evaluated["loss"]}
        return self.best

    def add_round(self, line: Mapping[str, Any], best: Mapping[str, Any] | None) -> None:
        """Append a round.

        Args:
            line: as `history.jsonl` keeps it.
            best: round and loss of the best round up to this one.
        """
        path = self.folder / "history.jsonl"
        with disk_errors(path), path.open("a") as file:
            file.write(json.dumps(line, allow_nan=False) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self._facts |= {"rounds": line["round"], "best": best}
        self._write_facts()

    def finish(self, record: Mapping[str, Array]) -> str:
        """Keep the final model, for numpy and for MXNet; return its SHA-256."""
        model.save(record, self.folder / "model.npz")
        mxnet_params.save(record, self.folder / "model.params")
        self._facts["model_sha256"] = arrays.sha256(record)
        self.end("finished")
        return str(self._facts["model_sha256"])

    def end(self, status: str, **why: object) -> None:
        """Note how the run ended: finished, interrupted, or failed and why (`reason`, `exit_code`)."""
        self._facts |= {"status": status, "finished": _now(), **why}
        self._write_facts()

    def _write_facts(self) -> None:
        with atomic_write(self.folder / "run.json") as file:
            file.write((json.dumps(self._facts, indent=2) + "\n").encode())


def _cut(path: Path, size: int) -> None:
    """Take back the lines that came after the first `size` bytes; half a line is none."""
    with disk_errors(path, reads=True):
        data = path.read_bytes()[:size] if path.exists() else b""
    whole = data.rfind(b"\n") + 1
    if whole < size:
        warn("lines of the history are lost", file=path, found=whole, expected=size)
    with disk_errors(path):
        path.touch()
        os.truncate(path, whole)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def versions() -> dict[str, str]:
    """Return what a run depends on, with its version."""
    packages = {name: metadata.version(name) for name in ("flwr", "numpy", "grpcio")}
    return {"fedmx": __version__, "python": platform.python_version(), **packages}
