"""Lists the runs of a folder, whatever is in it: older formats, torn records and files of others.

Nothing is written, so that it works for a folder that is mounted read-only, and beside a running server.
"""

import json
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from fedmx import run_state
from fedmx.run_state import INTERRUPTED, RUNNING
from server.overview import read_overview

UNREADABLE = "unreadable"
"""The status of a run whose `run.json` is missing, torn or not a record."""

LATEST = "latest"
"""The link to the newest run."""

TENSORBOARD = "tensorboard"
"""The folder of TensorBoard's files, of all runs."""

_NO_RECORD = "run.json is not the record of a run"
_RUN_ID = re.compile(r"\d{8}-\d{6}-[0-9a-f]{4}")
# A folder may have more runs: then each call reads some of the records again.
_MOST_CACHED = 4_096


@dataclass(frozen=True)
class RunSummary:
    """A run in one line.

    Attributes:
        run_id: the name of its folder.
        name: what its user called it.
        tags: its tags.
        status: `running`, `finished`, `failed`, `interrupted` or `unreadable`.
        reason: why it failed, was interrupted or cannot be read.
        started: when it began, in ISO 8601; None if that is not known.
        finished: when it ended; None if it is running.
        seconds: from its beginning to its end, or until now.
        rounds: the number of finished rounds.
        num_rounds: NUM_ROUNDS; None if that is not known.
        best: round, metric and value of the best round; None if no round is the best.
        model_sha256: the digest of its final model; None if it has none.
    """

    run_id: str
    name: str = ""
    tags: tuple[str, ...] = ()
    status: str = UNREADABLE
    reason: str | None = None
    started: str | None = None
    finished: str | None = None
    seconds: float | None = None
    rounds: int = 0
    num_rounds: int | None = None
    best: Mapping[str, Any] | None = None
    model_sha256: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return it as values that JSON can hold."""
        return {**asdict(self), "tags": list(self.tags)}


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
    found.sort(key=_order, reverse=True)
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
        ValueError: its record is not one.
    """
    folder = runs_dir / run_id
    try:
        document = {**read_overview(folder), "run_id": run_id}
    # Of a damaged record, anything may be something else.
    except (RecursionError, LookupError, TypeError, AttributeError, ArithmeticError) as error:
        raise ValueError(f"it is not the record of a run ({error!r})") from None
    if not isinstance(document["status"], str):
        raise ValueError("it has no status")  # noqa: TRY004 - the content of a file is at fault
    document |= _clean(document)
    if document["status"] == RUNNING and run_id not in find_running(runs_dir):
        document |= describe_interruption(folder / "run.json")
    return document


def find_running(runs_dir: Path) -> set[str]:
    """Return the ids of the run on which a server may work now; none if no server holds the folder's lock."""
    if not run_state.has_server(runs_dir):
        return set()
    # The server names its run in the lock before the run is the newest; an engine of Flower's does not.
    return {run_state.read_lock(runs_dir), find_newest(runs_dir) or ""} - {""}


def describe_interruption(path: Path) -> dict[str, Any]:
    """Return what a record lacks whose server was killed: status, reason, and when it ended.

    Args:
        path: the `run.json`.
    """
    changed = datetime.fromtimestamp(path.stat().st_mtime, UTC).isoformat(timespec="seconds")
    return {"status": INTERRUPTED, "reason": run_state.KILLED, "finished": changed}


def _settle(runs: list[RunSummary], runs_dir: Path) -> Iterator[RunSummary]:
    """Correct the runs that have the status `running`."""
    if not any(run.status == RUNNING for run in runs):
        yield from runs
        return
    running = find_running(runs_dir)
    for run in runs:
        if run.status != RUNNING:
            yield run
        elif run.run_id in running:
            now = datetime.now(UTC).isoformat(timespec="seconds")
            yield replace(run, finished=None, seconds=_measure(run.started, now))
        else:
            # A run that has just been removed is left out.
            with suppress(FileNotFoundError):
                end = describe_interruption(runs_dir / run.run_id / "run.json")
                yield replace(run, **end, seconds=_measure(run.started, end["finished"]))


def _read(folder: Path) -> RunSummary | None:
    """Return the summary of a run's folder; None if it is something else."""
    name = folder.name
    if name.startswith(".") or name in (LATEST, TENSORBOARD):
        return None
    path = folder / "run.json"
    try:
        status = path.stat()
        return _parse(path, status.st_mtime_ns, status.st_ino, status.st_size)
    except (FileNotFoundError, NotADirectoryError):
        # A folder that has a run's name was begun by a server, or lost its record.
        is_run = _RUN_ID.fullmatch(name) and folder.is_dir()
        return RunSummary(name, reason="run.json not found") if is_run else None
    except OSError as error:
        return RunSummary(name, reason=f"run.json cannot be read: {error.strerror}")


@lru_cache(_MOST_CACHED)
def _parse(path: Path, *_: int) -> RunSummary:
    """Return the summary of a record. The further arguments change when the file does."""
    name = path.parent.name
    text = path.read_bytes()
    try:
        facts = json.loads(text)
    except (ValueError, RecursionError):
        return RunSummary(name, reason="run.json is not JSON")
    is_record = isinstance(facts, dict) and isinstance(facts.get("status"), str)
    return _summarize(name, facts) if is_record else RunSummary(name, reason=_NO_RECORD)


def _summarize(name: str, facts: Mapping[str, Any]) -> RunSummary:
    settings = facts.get("settings")
    settings = settings if isinstance(settings, dict) else {}
    tags = facts.get("tags")
    started = _text(facts.get("started"))
    finished = _text(facts.get("finished"))
    return RunSummary(
        run_id=name,
        name=_text(facts.get("name")) or "",
        tags=tuple(map(str, tags)) if isinstance(tags, list) else (),
        status=str(facts["status"]),
        reason=_text(facts.get("reason")),
        started=started,
        finished=finished,
        seconds=_measure(started, finished),
        rounds=_count(facts.get("rounds")) or 0,
        num_rounds=_count(settings.get("NUM_ROUNDS")),
        best=_find_best(facts.get("best")),
        model_sha256=_text(facts.get("model_sha256")),
    )


def _clean(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return the entries of a document that the record alone determines, each with the type it must have."""
    texts = ("reason", "started", "finished", "stopped", "model_sha256", "task")
    numbers = ("num_rounds", "model_bytes", "exit_code", "partitions")
    lists = ("tags", "resumed")
    return {
        **{name: _text(document[name]) for name in texts},
        **{name: _text(document[name]) or "" for name in ("name", "notes")},
        **{name: _count(document[name]) for name in numbers},
        **{
            name: list(map(str, document[name])) if isinstance(document[name], list) else [] for name in lists
        },
        **{
            name: document[name] if isinstance(document[name], dict) else {}
            for name in ("settings", "versions")
        },
        "best": _find_best(document["best"]),
    }


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _find_best(value: object) -> Mapping[str, Any] | None:
    if not isinstance(value, dict):
        return None
    number = value.get("value")
    is_finite = isinstance(number, int | float) and abs(number) <= sys.float_info.max
    is_known = _count(value.get("round")) is not None and isinstance(value.get("metric"), str)
    return {key: value[key] for key in ("round", "metric", "value")} if is_finite and is_known else None


def _measure(started: str | None, finished: str | None) -> float | None:
    """Return the seconds between two times; None if one of them is not known."""
    try:
        begin = datetime.fromisoformat(started or "")
        return max((datetime.fromisoformat(finished or "") - begin).total_seconds(), 0.0)
    # One of them may have no time zone.
    except (ValueError, TypeError):
        return None


def _order(run: RunSummary) -> tuple[str, str]:
    """Return what runs are sorted by: when they began, which the name of a run has as well."""
    digits = re.sub(r"\D", "", run.started or run.run_id)
    return digits[:14], run.run_id
