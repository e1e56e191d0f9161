"""Finds a run by its id, the beginning of its id, its name, `latest`, or the path of its folder."""

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fedmx import __version__
from fedmx.errors import DataError
from fedmx.files import disk_errors
from fedmx.listing import list_names
from fedmx.log import printable
from fedmx.run_state import FORMAT
from server.record import catalog
from server.record.catalog import LATEST
from server.record.summary import UNREADABLE, RunSummary

# How many ids an error names.
_MOST_NAMED = 5


def list_all(runs_dir: Path) -> list[RunSummary]:
    """List the runs, newest first.

    Raises:
        DataError: the folder cannot be read, or is not one.
    """
    if runs_dir.exists() and not runs_dir.is_dir():
        raise DataError(f"RUNS_DIR={runs_dir}: not a folder; expected the folder of the runs")
    with disk_errors(runs_dir, reads=True):
        return catalog.list_runs(runs_dir)


def find_run(runs_dir: Path, given: str) -> RunSummary:
    """Return a run, even if its record cannot be read.

    Args:
        runs_dir: the folder of the runs.
        given: how the user names it.

    Raises:
        DataError: no run, or more than one, matches.
    """
    runs = list_all(runs_dir)
    if not runs:
        raise DataError(f"RUNS_DIR={runs_dir}: has no runs; expected the folder of at least one")
    name = _strip_folder(runs_dir, given)
    if name == LATEST:
        name = catalog.find_newest(runs_dir) or runs[0].run_id
    found = _match(runs, name)
    if len(found) == 1:
        return found[0]
    if found:
        names = list_names((run.run_id for run in found), _MOST_NAMED)
        raise DataError(f"{printable(given)}: matches {len(found)} runs; expected one of {names}")
    close = difflib.get_close_matches(name, [run.run_id for run in runs], _MOST_NAMED, cutoff=0.7)
    what = f"perhaps {list_names(close)}" if close else f"such as {runs[0].run_id}"
    raise DataError(f"{printable(given)}: not a run; expected the id of one in RUNS_DIR={runs_dir}, {what}")


def _match(runs: Sequence[RunSummary], name: str) -> list[RunSummary]:
    """Return the runs with an id, or else those with a name, or else those whose id begins like that."""
    return (
        [run for run in runs if run.run_id == name]
        or [run for run in runs if name and run.name == name]
        or [run for run in runs if name and run.run_id.startswith(name)]
    )


def find_runs(runs_dir: Path, given: Sequence[str]) -> list[RunSummary]:
    """Return several runs without repetitions.

    Raises:
        DataError: one of them cannot be found.
    """
    found = [find_run(runs_dir, name) for name in given]
    return list({run.run_id: run for run in found}.values())


def read_document(runs_dir: Path, run: RunSummary) -> dict[str, Any]:
    """Return the document of a run.

    Raises:
        DataError: its record cannot be read, or a newer version of fedmx wrote it.
    """
    path = runs_dir / run.run_id / "run.json"
    if run.status == UNREADABLE:
        raise DataError(f"{path.parent}: {run.reason}; expected the record of a run")
    try:
        with disk_errors(path, reads=True):
            document = catalog.read_run(runs_dir, run.run_id)
    except ValueError as error:
        raise DataError(f"{path}: cannot be read: {error}; expected the record of a run") from None
    found = document.get("format")
    if isinstance(found, int) and found > FORMAT:
        versions = document.get("versions")
        version = versions.get("fedmx", "?") if isinstance(versions, dict) else "?"
        raise DataError(
            f"{path}: a record of format {found}, which fedmx {version} wrote; expected at most format"
            f" {FORMAT}, which fedmx {__version__} writes"
        )
    return document


def _strip_folder(runs_dir: Path, given: str) -> str:
    """Return the id of a run from the path of its folder, and any other text unchanged.

    Raises:
        DataError: the folder is not in RUNS_DIR.
    """
    if "/" not in given:
        return given
    folder = Path(given)
    if folder.parent.resolve() == runs_dir.resolve():
        return folder.name
    raise DataError(
        f"{printable(given)}: not in RUNS_DIR={runs_dir}; expected the id of a run, or another RUNS_DIR"
    )
