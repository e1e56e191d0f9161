"""Detects interrupted runs: a run is in progress only while its server holds the lock of the runs folder.

A server that is killed cannot record the end of its run. The next server, the launcher or the supervisor in a
container records it instead.
"""

import fcntl
import json
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from fedmx.errors import DataError
from fedmx.files import atomic_write, read_regular

FORMAT = 4
"""The format of a run's record. It rises with every change that keeps another version from resuming a run."""

RUNNING = "running"
INTERRUPTED = "interrupted"
KILLED = "the server was killed, or its machine went down"
"""The reason of an interrupted run whose server could not record one."""
STOPPED = "it was stopped, as by `flwr stop`"
"""The reason of an interrupted run that was stopped on one of Flower's engines."""
_LOCK = ".lock"


def open_lock(runs_dir: Path, name: str = _LOCK) -> IO[bytes]:
    """Open a lock file of a runs folder and take the lock, which lasts until the file is closed.

    Args:
        runs_dir: the folder.
        name: the name of the file; the default is the server's lock.

    Raises:
        BlockingIOError: another process holds it.
        OSError: the file cannot be opened.
    """
    file = (runs_dir / name).open("ab+", buffering=0)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        raise
    return file


def has_server(runs_dir: Path) -> bool:
    """Return whether a server holds the lock of a runs folder, which may be read-only.

    This takes the lock for a moment; a server that starts then waits for it.
    """
    try:
        with (runs_dir / _LOCK).open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    # Another user's lock cannot be checked, and a live run must not be reported as dead.
    except (BlockingIOError, PermissionError):
        return True
    except OSError:
        return False
    return False


def read_lock(runs_dir: Path) -> str:
    """Return the name in the lock of a runs folder: the run that was begun, until its end was announced."""
    try:
        return (runs_dir / _LOCK).read_text(errors="replace").strip()
    except OSError:
        return ""


def settle(runs_dir: Path) -> None:
    """Record that the newest run was interrupted, if its status is `running` and no server holds the lock."""
    with suppress(OSError), open_lock(runs_dir):
        note_interrupted(runs_dir)


def note_interrupted(runs_dir: Path) -> None:
    """Record that the newest run was interrupted, if its status is `running`. The caller holds the lock."""
    _note(runs_dir, RUNNING, KILLED)


def note_stopped(runs_dir: Path) -> None:
    """Record that the newest run, which was interrupted, was stopped by a user. The caller holds the lock."""
    _note(runs_dir, INTERRUPTED, STOPPED)


def _note(runs_dir: Path, status: str, reason: str) -> None:
    """Record that the newest run was interrupted, and why, if it has this status."""
    # A run.json that cannot be read is reported by the next server. Python raises RuntimeError for a link to
    # itself, and for JSON that is nested too deep.
    with suppress(OSError, ValueError, RuntimeError, DataError):
        path = (runs_dir / "latest").resolve() / "run.json"
        facts = json.loads(read_regular(path))
        # A record of another format belongs to another version of fedmx.
        if not isinstance(facts, dict) or (facts.get("format"), facts.get("status")) != (FORMAT, status):
            return
        changed = datetime.fromtimestamp(path.stat().st_mtime, UTC).isoformat(timespec="seconds")
        facts |= {"status": INTERRUPTED, "finished": changed, "reason": reason}
        with atomic_write(path) as file:
            file.write((json.dumps(facts, indent=2) + "\n").encode())
