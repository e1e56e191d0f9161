"""The runs folder: the name of a new run, what is on record of the newest, and the lock for one server."""

import json
import os
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from fedmx import __version__, run_state
from fedmx.errors import DataError
from fedmx.files import disk_errors, expected_readable


def new_run_id() -> str:
    """Make the name of a run: when it began, and four random digits for runs of one second."""
    return f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"


FORMAT = 3
"""Of a run's record, counted up with every change that another version of fedmx could not resume from."""

NEW_RUN = "RESUME=never starts a new run"

# What a server that takes a run up needs of its record.
_FACTS: Mapping[str, type] = {
    "run_id": str,
    "status": str,
    "resumed": list,
    "partitions": int,
    "nodes": dict,
    "rounds": int,
    "releases": list,
    "settings": dict,
    "versions": dict,
}


class RunsFolder:
    """The runs folder, for one server alone, until this is closed.

    Its lock file holds the name of the run that was begun, until all its nodes were told that it is finished.

    Raises:
        DataError: another server has it, or it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.mkdir(parents=True, exist_ok=True)
            self._lock = run_state.open_lock(path)
        except BlockingIOError:
            raise DataError(
                f"RUNS_DIR={path}: another server writes in this folder; expected a folder for each server"
            ) from None
        except OSError as error:
            raise DataError(
                f"RUNS_DIR={path}: {error.strerror};"
                f" expected a folder that this user (uid {os.getuid()}) can write"
            ) from None
        run_state.note_interrupted(path)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        run_state.note_interrupted(self.path)
        self._lock.close()

    @property
    def unannounced(self) -> str:
        """The run whose nodes were not told that it is finished; empty if all of them were."""
        self._lock.seek(0)
        return self._lock.read().decode()

    @unannounced.setter
    def unannounced(self, run_id: str) -> None:
        with disk_errors(self.path / ".lock"):
            self._lock.truncate(0)
            self._lock.write(run_id.encode())


@dataclass(frozen=True)
class NewestRun:
    """What is on disk of the newest run: its folder, and what `run.json` says."""

    folder: Path
    facts: Mapping[str, Any]

    @property
    def status(self) -> str:
        """`running`, `interrupted`, `failed` or `finished`."""
        return str(self.facts["status"])

    @property
    def age_s(self) -> float:
        """Seconds since the record changed."""
        return time.time() - (self.folder / "run.json").stat().st_mtime

    @property
    def settings(self) -> Mapping[str, Any]:
        """What its server was told, by name."""
        settings: Mapping[str, Any] = self.facts["settings"]
        return settings


def read_newest(runs_dir: Path) -> NewestRun | None:
    """Give the newest run, if there is one.

    One of another format that is finished is none: there is nothing to resume, or to announce.

    Raises:
        DataError: what is on record of it cannot be read, or has another format.
    """
    latest = runs_dir / "latest"
    path = latest / "run.json"
    try:
        folder = runs_dir / latest.readlink() if latest.is_symlink() else latest
        path = folder / "run.json"
        if not folder.exists():
            return None
        facts = json.loads(path.read_text())
        if _is_of_another_format(path, facts):
            return None
        _check_facts(facts)
    except PermissionError as error:
        raise DataError(
            f"{path}: cannot be read: {error.strerror}; {expected_readable()}, or RESUME=never to start"
            " a new run"
        ) from None
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path}: cannot be read: {error}; expected the record of the newest run, or RESUME=never to"
            " start a new run"
        ) from None
    return NewestRun(folder, facts)


def _is_of_another_format(path: Path, facts: object) -> bool:
    """Return whether a record is a finished run's of another format.

    Raises:
        DataError: it is an unfinished one's.
    """
    if not isinstance(facts, dict) or (found := facts.get("format", 1)) == FORMAT:
        return False
    if facts.get("status") == "finished":
        return True
    versions = facts.get("versions")
    version = versions.get("fedmx", "?") if isinstance(versions, dict) else "?"
    raise DataError(
        f"{path}: an unfinished run of format {found}, which fedmx {version} wrote; expected format"
        f" {FORMAT}, which fedmx {__version__} writes: finish the run with fedmx {version}, or {NEW_RUN}"
    )


def _check_facts(facts: object) -> None:
    """Check that a record is one of this version's.

    Raises:
        ValueError: it is not.
    """
    if not isinstance(facts, dict):
        raise ValueError("it is no JSON object")  # noqa: TRY004 - of a file, not of a call
    for name, kind in _FACTS.items():
        if not isinstance(facts.get(name), kind):
            raise ValueError(f"its {name!r} is no {kind.__name__}")  # noqa: TRY004 - of a file, not of a call
