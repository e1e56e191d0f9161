"""The runs folder: the name of a new run, the record of the newest one, and the lock for one server."""

import contextlib
import json
import os
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, Self

from fedmx import __version__, run_state
from fedmx.errors import DataError
from fedmx.files import disk_errors, expected_readable, fsync_directory, read_regular
from fedmx.run_state import FORMAT


def new_run_id() -> str:
    """Return the name of a new run: the time, and four random digits for runs that begin in one second."""
    return f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"


NEW_RUN = "RESUME=never starts a new run"
# How long another program may hold the lock to note that a server was killed.
_SETTLING_S = 0.2

# What resuming a run needs of its record.
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
    """The runs folder, locked for one server until this is closed.

    The lock file has the name of the run that was begun, until all of its nodes were notified of its end.

    Raises:
        DataError: another server has it, or it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.mkdir(parents=True, exist_ok=True)
            self._lock = _open_lock(path)
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
        """The run whose nodes were not all notified of its end; empty if there is none."""
        self._lock.seek(0)
        return self._lock.read().decode(errors="replace")

    @unannounced.setter
    def unannounced(self, run_id: str) -> None:
        with disk_errors(self.path / ".lock"):
            self._lock.truncate(0)
            self._lock.write(run_id.encode())


def _open_lock(path: Path) -> IO[bytes]:
    """Acquire the lock of a runs folder.

    A launcher or a supervisor holds it for a moment while it notes that an earlier server was killed, which
    is why one failure is not enough.
    """
    try:
        return run_state.open_lock(path)
    except BlockingIOError:
        time.sleep(_SETTLING_S)
        return run_state.open_lock(path)


def point_latest_to(folder: Path) -> None:
    """Point the link `latest` in the runs folder to the folder of a run.

    Raises:
        DataError: it cannot be written.
    """
    runs_dir = folder.parent
    link = runs_dir / ".latest.part"
    try:
        with disk_errors(runs_dir / "latest"):
            link.unlink(missing_ok=True)
            link.symlink_to(folder.name)
            link.replace(runs_dir / "latest")
            fsync_directory(runs_dir)
    except DataError:
        with contextlib.suppress(OSError):
            link.unlink()
        raise


@dataclass(frozen=True)
class NewestRun:
    """The newest run on disk: its folder, and the content of `run.json`."""

    folder: Path
    facts: Mapping[str, Any]

    @property
    def status(self) -> str:
        """`running`, `interrupted`, `failed` or `finished`."""
        return str(self.facts["status"])

    @property
    def is_stopped(self) -> bool:
        """Whether the run was stopped on one of Flower's engines."""
        return self.status == run_state.INTERRUPTED and self.facts.get("reason") == run_state.STOPPED

    @property
    def age_s(self) -> float:
        """Seconds since the record last changed."""
        return time.time() - (self.folder / "run.json").stat().st_mtime

    @property
    def settings(self) -> Mapping[str, Any]:
        """The settings of its server, by environment name."""
        settings: Mapping[str, Any] = self.facts["settings"]
        return settings


def read_newest(runs_dir: Path) -> NewestRun | None:
    """Return the newest run, if there is one.

    A finished run of another format is ignored: there is nothing to resume, or to announce.

    Raises:
        DataError: its record cannot be read, or it is unfinished and has another format.
    """
    latest = runs_dir / "latest"
    path = latest / "run.json"
    try:
        folder = runs_dir / latest.readlink() if latest.is_symlink() else latest
        path = folder / "run.json"
        if not folder.exists():
            return None
        facts = json.loads(read_regular(path))
        if _is_of_another_format(path, facts):
            return None
        _check_facts(facts)
    except PermissionError as error:
        raise DataError(
            f"{path}: cannot be read: {error.strerror}; {expected_readable()}, or RESUME=never to start"
            " a new run"
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(
            f"{path}: cannot be read: {error}; expected the record of the newest run, or RESUME=never to"
            " start a new run"
        ) from None
    return NewestRun(folder, facts)


def _is_of_another_format(path: Path, facts: object) -> bool:
    """Return whether a record belongs to a finished run of another format.

    Raises:
        DataError: it belongs to an unfinished run of another format.
    """
    if not isinstance(facts, dict) or (found := facts.get("format", 1)) == FORMAT:
        return False
    if facts.get("status") == "finished":
        return True
    versions = facts.get("versions")
    version = versions.get("fedmx", "?") if isinstance(versions, dict) else "?"
    raise DataError(
        f"{path}: an unfinished run of format {found}, which fedmx {version} wrote; expected format"
        f" {FORMAT}, which fedmx {__version__} writes: finish the run with fedmx {version}; {NEW_RUN}"
    )


def _check_facts(facts: object) -> None:
    """Check that a record has what this version needs.

    Raises:
        ValueError: something is missing.
    """
    if not isinstance(facts, dict):
        raise ValueError("it is not a JSON object")  # noqa: TRY004 - the content of a file is at fault
    for name, kind in _FACTS.items():
        if not isinstance(facts.get(name), kind):
            raise ValueError(f"its {name!r} is not a {kind.__name__}")  # noqa: TRY004 - see above
    if not isinstance(facts.get("description"), dict | None):
        raise ValueError("its 'description' is neither a dict nor null")  # noqa: TRY004 - see above
