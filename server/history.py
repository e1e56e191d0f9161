"""What happened, on disk: the run's folder, `run.json`, `history.jsonl`, and the lock on the runs folder."""

import contextlib
import fcntl
import json
import os
import platform
import secrets
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any, Self

from flwr.app import Array

from fedmx import __version__, arrays
from fedmx.errors import DataError
from fedmx.files import named_errors, whole_file
from fedmx.settings import ServerSettings, describe
from server import model
from server.checkpoint import Facts


def new_run_id() -> str:
    """Make the name of a run: when it began, and four random digits for runs of one second."""
    return f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"


class RunsFolder:
    """The runs folder, for one server alone, until this is closed.

    Its lock file holds the name of the run whose nodes were not told yet how it ended.

    Raises:
        DataError: another server has it, or it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.mkdir(parents=True, exist_ok=True)
            self._lock = (path / ".lock").open("ab+", buffering=0)
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                self._lock.close()
                raise
        except BlockingIOError:
            raise DataError(
                f"RUNS_DIR={path}: another server writes in this folder; expected a folder for each server"
            ) from None
        except OSError as error:
            raise DataError(
                f"RUNS_DIR={path}: {error.strerror};"
                f" expected a folder that this user (uid {os.getuid()}) can write"
            ) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.close()

    @property
    def untold(self) -> str:
        """The run whose nodes were not told its outcome; empty if all of them were."""
        self._lock.seek(0)
        return self._lock.read().decode()

    @untold.setter
    def untold(self, run_id: str) -> None:
        with named_errors(self.path / ".lock"):
            self._lock.truncate(0)
            self._lock.write(run_id.encode())


@dataclass(frozen=True)
class NewestRun:
    """What is on disk of the newest run: its folder, and what `run.json` says."""

    folder: Path
    facts: Mapping[str, Any]

    @property
    def status(self) -> str:
        """Whether it is running (or was killed), finished, failed or interrupted."""
        return str(self.facts["status"])

    @property
    def settings(self) -> Mapping[str, Any]:
        """What its server was told, by name."""
        settings: Mapping[str, Any] = self.facts["settings"]
        return settings


def read_newest(runs_dir: Path) -> NewestRun | None:
    """Give the newest run, if there is one.

    Raises:
        DataError: what is on record of it cannot be read.
    """
    folder = (runs_dir / "latest").resolve()
    path = folder / "run.json"
    try:
        return NewestRun(folder, json.loads(path.read_text()))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path}: cannot be read: {error}; expected the record of the newest run, or RESUME=never to"
            " start anew"
        ) from None


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
            "run_id": run_id,
            "status": "running",
            "started": _now(),
            "finished": None,
            "resumed": [],
            "seed": settings.seed,
            "partitions": 0,
            "nodes": {},
            "rounds": 0,
            "best": None,
            "model_sha256": None,
            "settings": describe(settings),
            "versions": _versions(),
        }
        with named_errors(folder):
            folder.mkdir(parents=True)
        try:
            record = cls(folder, facts)
            with named_errors(runs_dir / "latest"):
                link.unlink(missing_ok=True)
                link.symlink_to(run_id)
                link.replace(runs_dir / "latest")
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
        path = run.folder / "history.jsonl"
        with named_errors(path), path.open("ab") as file:
            file.truncate(min(file.tell(), done.history_bytes if done else 0))
        facts = {name: value for name, value in run.facts.items() if name not in ("reason", "exit_code")}
        facts |= {
            "status": "running",
            "finished": None,
            "resumed": [*facts["resumed"], _now()],
            "best": done.best if done else None,
            "settings": describe(settings),
            "versions": _versions(),
        }
        record = cls(run.folder, facts)
        if done:
            record.add_round(done.line)
        return record

    @property
    def resumes(self) -> int:
        """How often the run was taken up again."""
        return len(self._facts["resumed"])

    @property
    def best(self) -> dict[str, Any] | None:
        """Round and loss of the best round that was evaluated on all partitions, if there is one."""
        best: dict[str, Any] | None = self._facts["best"]
        return best

    @property
    def size(self) -> int:
        """The bytes of `history.jsonl`."""
        path = self.folder / "history.jsonl"
        with named_errors(path):
            return path.stat().st_size if path.exists() else 0

    def note_nodes(self, nodes: Mapping[str, int | None], partitions: int) -> None:
        """Note who holds which partition, before anyone trains: a repeated round 1 is to find it the same."""
        self._facts |= {"nodes": dict(nodes), "partitions": partitions}
        self._write_facts()

    def judge(self, line: Mapping[str, Any]) -> None:
        """Remember a round as the best, if it is; it was evaluated on all partitions."""
        evaluated = line["evaluate"]
        if evaluated and (self.best is None or evaluated["loss"] < self.best["loss"]):
            self._facts["best"] = {"round": line["round"], "loss": evaluated["loss"]}

    def add_round(self, line: Mapping[str, Any]) -> None:
        """Append a round, as `history.jsonl` keeps it."""
        path = self.folder / "history.jsonl"
        with named_errors(path), path.open("a") as file:
            file.write(json.dumps(line) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self._facts["rounds"] = line["round"]
        self._write_facts()

    def finish(self, record: Mapping[str, Array]) -> str:
        """Keep the final model; give its SHA-256."""
        model.save(record, self.folder / "model.npz")
        self._facts["model_sha256"] = arrays.sha256(record)
        self.end("finished")
        return str(self._facts["model_sha256"])

    def end(self, status: str, **why: object) -> None:
        """Note how the run ended: finished, interrupted, or failed and why (`reason`, `exit_code`)."""
        self._facts |= {"status": status, "finished": _now(), **why}
        self._write_facts()

    def _write_facts(self) -> None:
        with whole_file(self.folder / "run.json") as file:
            file.write((json.dumps(self._facts, indent=2) + "\n").encode())


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _versions() -> dict[str, str]:
    packages = {name: metadata.version(name) for name in ("flwr", "numpy", "grpcio")}
    return {"fedmx": __version__, "python": platform.python_version(), **packages}
