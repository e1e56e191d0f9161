"""Whether a run that says it is running does: for as long, its server holds the lock of the runs folder.

A server that is killed cannot write that its run ended. Whoever finds it gone does: the next server, the
launcher, the parent in a container.
"""

import fcntl
import json
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from fedmx.errors import DataError
from fedmx.files import atomic_write

RUNNING, INTERRUPTED = "running", "interrupted"
_REASON = "the server was killed, or its machine went down"


def open_lock(runs_dir: Path, name: str = ".lock") -> IO[bytes]:
    """Open a lock file of a runs folder and take the lock, which lasts until the file is closed.

    Args:
        runs_dir: the folder.
        name: of the file; the server's by default.

    Raises:
        BlockingIOError: another process has it.
        OSError: the file cannot be opened.
    """
    file = (runs_dir / name).open("ab+", buffering=0)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        raise
    return file


def settle(runs_dir: Path) -> None:
    """Note that the newest run is interrupted, if it says that it is running and no server is here."""
    with suppress(OSError), open_lock(runs_dir):
        note_interrupted(runs_dir)


def note_interrupted(runs_dir: Path) -> None:
    """Note that the newest run is interrupted, if it says that it is running; for who holds the lock."""
    path = (runs_dir / "latest").resolve() / "run.json"
    with suppress(OSError, ValueError, DataError):  # a record that cannot be read is a matter of `RESUME`
        facts = json.loads(path.read_bytes())
        if not isinstance(facts, dict) or facts.get("status") != RUNNING:
            return
        changed = datetime.fromtimestamp(path.stat().st_mtime, UTC).isoformat(timespec="seconds")
        facts |= {"status": INTERRUPTED, "finished": changed, "reason": _REASON}
        with atomic_write(path) as file:
            file.write((json.dumps(facts, indent=2) + "\n").encode())
