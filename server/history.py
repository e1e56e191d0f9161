"""What happened, on disk: the run's folder, `run.json`, `history.jsonl`, and the lock on the runs folder."""

import fcntl
import json
import os
import platform
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import IO, Any

from flwr.app import Array

from fedmx import __version__, arrays
from fedmx.errors import DataError, FederationError
from fedmx.settings import ServerSettings, describe
from server import model
from server.files import named_errors, whole_file


def new_run_id() -> str:
    """Make the name of a run: when it began, and four random digits for runs of one second."""
    return f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"


def lock(runs_dir: Path) -> IO[str]:
    """Take the runs folder for this server alone, until the file that is given back is closed.

    Raises:
        DataError: another server has it, or it cannot be written.
    """
    try:
        runs_dir.mkdir(parents=True, exist_ok=True)
        file = (runs_dir / ".lock").open("w")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.close()
            raise
    except BlockingIOError:
        raise DataError(
            f"RUNS_DIR={runs_dir}: another server writes in this folder; expected a folder for each server"
        ) from None
    except OSError as error:
        raise DataError(
            f"RUNS_DIR={runs_dir}: {error.strerror};"
            f" expected a folder that this user (uid {os.getuid()}) can write"
        ) from None
    return file


class RepeatedFailureError(FederationError):
    """The run of these settings has just failed; a server that an engine restarts ends as it did."""

    def __init__(self, run_id: str, facts: Mapping[str, Any], left_s: float) -> None:
        self.exit_code = int(facts["exit_code"])
        super().__init__(
            f"run {run_id} failed with these settings: {facts['reason']};"
            f" another can begin in {left_s:.0f} s, or with RETRY_AFTER=0"
        )


def find_recent_failure(settings: ServerSettings) -> RepeatedFailureError | None:
    """Tell whether the newest run failed within RETRY_AFTER, with the same settings."""
    folder = (settings.runs_dir / "latest").resolve()
    try:
        facts = json.loads((folder / "run.json").read_text())
    except (OSError, ValueError):
        return None
    if facts["status"] != "failed" or facts["settings"] != describe(settings):
        return None
    age = datetime.now(UTC) - datetime.fromisoformat(facts["finished"])
    left_s = settings.retry_after - age.total_seconds()
    return RepeatedFailureError(folder.name, facts, left_s) if left_s > 0 else None


class History:
    """The record of one run, one that ends before its first round included.

    All of it raises `DataError` where the disk does not take it.

    Args:
        runs_dir: the folder of all runs.
        run_id: this run's name.
        settings: what the server was told.
    """

    def __init__(self, runs_dir: Path, run_id: str, settings: ServerSettings) -> None:
        self.folder = runs_dir / run_id
        self._facts: dict[str, Any] = {
            "run_id": run_id,
            "status": "running",
            "started": _now(),
            "finished": None,
            "seed": settings.seed,
            "rounds": 0,
            "best": None,
            "model_sha256": None,
            "settings": describe(settings),
            "versions": _versions(),
        }
        with named_errors(self.folder):
            self.folder.mkdir(parents=True)
        self._write_facts()
        link = runs_dir / f".latest.{os.getpid()}"
        with named_errors(runs_dir / "latest"):
            link.unlink(missing_ok=True)
            link.symlink_to(run_id)
            link.replace(runs_dir / "latest")

    def add_round(self, line: Mapping[str, Any], *, is_whole: bool) -> None:
        """Append a round.

        Args:
            line: what `history.jsonl` keeps of it.
            is_whole: whether it was evaluated on all partitions, so that its loss may be compared.
        """
        path = self.folder / "history.jsonl"
        with named_errors(path), path.open("a") as file:
            file.write(json.dumps(line) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self._facts["rounds"] = line["round"]
        best = self._facts["best"]
        evaluated = line["evaluate"]
        if is_whole and evaluated and (best is None or evaluated["loss"] < best["loss"]):
            self._facts["best"] = {"round": line["round"], "loss": evaluated["loss"]}
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
