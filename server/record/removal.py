"""Removes runs atomically: after a crash, a run is either complete or no longer listed.

A run is renamed to a hidden name and then deleted. If a crash interrupts that, the next removal completes it.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fedmx import run_state
from fedmx.errors import DataError
from fedmx.event_log import EventLog
from fedmx.files import disk_errors, fsync_directory
from fedmx.log import event, warn
from server.record import catalog
from server.record.catalog import LATEST, TENSORBOARD
from server.record.runs import point_latest_to
from server.record.summary import RunSummary

_ASIDE = ".removed-"
_ENDED = ("finished", "failed", run_state.INTERRUPTED)


def remove_run(runs_dir: Path, run_id: str) -> None:
    """Remove a run and its TensorBoard files, and record that in the event log.

    If it is the newest, `latest` then points to the newest finished run, which no server resumes.

    Raises:
        DataError: a server works on it, or it cannot be removed.
    """
    remove_leftovers(runs_dir)
    if run_id == catalog.find_newest(runs_dir):
        # Only the newest run can be resumed: keep servers from doing so meanwhile.
        with _keep_servers_out(runs_dir, run_id):
            _repair_latest(runs_dir, run_id)
            _rename(runs_dir, run_id)
    elif run_id in catalog.find_running(runs_dir):
        raise build_in_use_error(run_id)
    else:
        _rename(runs_dir, run_id)
    EventLog(runs_dir).note("run removed", run=run_id, uid=os.getuid())
    remove_leftovers(runs_dir)


def remove_old(runs_dir: Path, keep: int, current: str, initial: Path | None = None) -> None:
    """Remove all ended runs except the newest `keep`, and log the name of each.

    The newest finished run is never removed: otherwise, a series of failing runs would leave no model.

    Args:
        runs_dir: the folder of the runs.
        keep: how many to keep in addition to the current one; 0: all.
        current: the run of this server.
        initial: a file whose run is kept, such as the model from which the current run starts.
    """
    if not keep:
        return
    try:
        with disk_errors(runs_dir, reads=True):
            runs = [run for run in catalog.list_runs(runs_dir) if run.run_id != current]
        for run in _choose_old(runs, keep):
            if initial is None or (runs_dir / run.run_id).resolve() not in initial.parents:
                remove_run(runs_dir, run.run_id)
                event("removed a run", run=run.run_id, status=run.status, keep_runs=keep)
    except DataError as error:
        # A folder that cannot be removed is no reason to fail the new run.
        warn("an earlier run was not removed", reason=error)


def _choose_old(runs: list[RunSummary], keep: int) -> list[RunSummary]:
    """Return the runs to remove.

    Args:
        runs: newest first.
        keep: how many to keep.
    """
    # A folder with any other name is a copy that someone keeps, or not a run of fedmx.
    own = [run for run in runs if catalog.RUN_ID.fullmatch(run.run_id)]
    ended = [run for run in own if run.status in _ENDED]
    newest_finished = next((run for run in ended if run.status == "finished"), None)
    return [run for run in ended[keep:] if run is not newest_finished]


def remove_leftovers(runs_dir: Path) -> None:
    """Delete the runs that were renamed.

    Raises:
        DataError: it cannot be removed.
    """
    with disk_errors(runs_dir, reads=True):
        aside = sorted(runs_dir.glob(f"{_ASIDE}*"))
    for folder in aside:
        with disk_errors(folder):
            _delete(runs_dir / TENSORBOARD / folder.name.removeprefix(_ASIDE))
            # Deleted last: after a crash, its name tells which other files to delete.
            _delete(folder)


def _delete(path: Path) -> None:
    if path.is_symlink():
        path.unlink()
    elif path.exists():
        shutil.rmtree(path)


def _rename(runs_dir: Path, run_id: str) -> None:
    folder = runs_dir / run_id
    with disk_errors(folder):
        folder.rename(runs_dir / f"{_ASIDE}{run_id}")
        fsync_directory(runs_dir)


def _repair_latest(runs_dir: Path, removed: str) -> None:
    """Point `latest` to the newest finished run that remains; without one, remove the link."""
    with disk_errors(runs_dir, reads=True):
        runs = catalog.list_runs(runs_dir)
    stays = [run.run_id for run in runs if run.status == "finished" and run.run_id != removed]
    if stays:
        point_latest_to(runs_dir / stays[0])
        return
    with disk_errors(runs_dir / LATEST):
        (runs_dir / LATEST).unlink()
        fsync_directory(runs_dir)


@contextmanager
def _keep_servers_out(runs_dir: Path, run_id: str) -> Iterator[None]:
    try:
        lock = run_state.open_lock(runs_dir)
    except BlockingIOError:
        raise build_in_use_error(run_id) from None
    except OSError as error:
        raise DataError(f"{runs_dir / run_id}: cannot be removed: {error.strerror}") from None
    with lock:
        yield


def build_in_use_error(run_id: str) -> DataError:
    """Return the error for a run that cannot be removed because a server works on it."""
    return DataError(
        f"run {run_id}: a server works on it; expected a run that has ended: stop the server first"
    )
