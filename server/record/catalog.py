"""Lists the runs of a folder, whatever else is in it: older formats, torn records, unrelated files.

Nothing is written, so it works on a read-only mount and beside a running server.
"""

import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fedmx import run_state
from fedmx.run_state import INTERRUPTED, RUNNING
from server.overview import read_overview
from server.record.summary import RunSummary, clean_document, measure_seconds, read_summary, sort_key

LATEST = "latest"
"""The link to the newest run."""

TENSORBOARD = "tensorboard"
"""The folder with the TensorBoard files of all runs."""

RUN_ID = re.compile(r"\d{8}-\d{6}-[0-9a-f]{4}")
"""The names that servers give to runs."""


def list_runs(runs_dir: Path) -> list[RunSummary]:
    """List the runs of a folder, newest first; none if there is no folder.

    A record is parsed again only if it has changed. A run is running only if it is the newest and a server
    holds the folder's lock.

    Raises:
        OSError: the folder cannot be read.
    """
    try:
        names = [path.name for path in runs_dir.iterdir()]
    except FileNotFoundError:
        return []
    found = [summary for name in names if (summary := _read(runs_dir / name))]
    found.sort(key=sort_key, reverse=True)
    return list(_settle(found, runs_dir))


def find_newest(runs_dir: Path) -> str | None:
    """Return the id of the run that `latest` points to; None if there is no such run."""
    try:
        target = (runs_dir / LATEST).resolve(strict=True)
    except (OSError, RuntimeError):
        return None
    return target.name if target.parent == runs_dir.resolve() else None


def read_run(runs_dir: Path, run_id: str) -> dict[str, Any]:
    """Return the document of a run, see `server.overview`, with what is known of its end.

    Args:
        runs_dir: the folder of the runs.
        run_id: the name of the run's folder.

    Raises:
        OSError: its record cannot be read.
        ValueError: `run.json` is not the record of a run.
    """
    folder = runs_dir / run_id
    try:
        document = {**read_overview(folder), "run_id": run_id}
    # In a damaged record, any value may have another type.
    except (RecursionError, LookupError, TypeError, AttributeError, ArithmeticError) as error:
        raise ValueError(f"it is not the record of a run ({error!r})") from None
    if not isinstance(document["status"], str):
        raise ValueError("it has no status")  # noqa: TRY004 - the content of a file is at fault
    document |= clean_document(document)
    if document["status"] == RUNNING and run_id not in find_running(runs_dir):
        document |= describe_interruption(folder / "run.json")
    return document


def find_running(runs_dir: Path) -> set[str]:
    """Return the ids of the runs on which a server may be working; none if no server holds the lock."""
    if not run_state.has_server(runs_dir):
        return set()
    # The server names its run in the lock before the run is the newest; Flower's own engines do not.
    return {run_state.read_lock(runs_dir), find_newest(runs_dir) or ""} - {""}


def describe_interruption(path: Path) -> dict[str, Any]:
    """Return the status, reason and end of a run that a killed server could not record.

    Args:
        path: the `run.json`.
    """
    changed = datetime.fromtimestamp(path.stat().st_mtime, UTC).isoformat(timespec="seconds")
    return {"status": INTERRUPTED, "reason": run_state.KILLED, "finished": changed}


def _settle(runs: list[RunSummary], runs_dir: Path) -> Iterator[RunSummary]:
    """Yield the runs, with the true status of those recorded as `running`."""
    if not any(run.status == RUNNING for run in runs):
        yield from runs
        return
    running = find_running(runs_dir)
    for run in runs:
        if run.status != RUNNING:
            yield run
        elif run.run_id in running:
            now = datetime.now(UTC).isoformat(timespec="seconds")
            yield replace(run, finished=None, seconds=measure_seconds(run.started, now))
        else:
            # A run that has just been removed is left out.
            with suppress(FileNotFoundError):
                end = describe_interruption(runs_dir / run.run_id / "run.json")
                yield replace(run, **end, seconds=measure_seconds(run.started, end["finished"]))


def _read(folder: Path) -> RunSummary | None:
    """Return the summary of a run's folder; None if it is something else."""
    name = folder.name
    if name.startswith(".") or name in (LATEST, TENSORBOARD):
        return None
    path = folder / "run.json"
    try:
        status = path.stat()
        return read_summary(path, status.st_mtime_ns, status.st_ino, status.st_size)
    except (FileNotFoundError, NotADirectoryError):
        # A folder named like a run was begun by a server, or has lost its record.
        is_run = RUN_ID.fullmatch(name) and folder.is_dir()
        return RunSummary(name, reason="run.json not found") if is_run else None
    except OSError as error:
        return RunSummary(name, reason=f"run.json cannot be read: {error.strerror}")
