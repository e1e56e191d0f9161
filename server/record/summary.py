"""The summary of a run, out of its `run.json`, which may be of an older format, torn, or not a record."""

import json
import re
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from fedmx.files import read_regular

UNREADABLE = "unreadable"
"""The status of a run that has no `run.json`, or one that cannot be read."""

_NO_RECORD = "run.json is not the record of a run"
# A folder may have more runs: then each call reads some of the records again.
_MOST_CACHED = 4_096


@dataclass(frozen=True)
class RunSummary:
    """A run in one line.

    Attributes:
        run_id: the name of its folder.
        name: RUN_NAME.
        tags: its tags.
        status: `running`, `finished`, `failed`, `interrupted` or `unreadable`.
        reason: why it failed, was interrupted or cannot be read.
        started: when it began, in ISO 8601; None if that is not known.
        finished: when it ended; None if it is running.
        seconds: from its beginning to its end, or until now.
        rounds: the number of finished rounds.
        num_rounds: NUM_ROUNDS; None if that is not known.
        best: round, metric and value of the best round; None if there is none.
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


@lru_cache(_MOST_CACHED)
def read_summary(path: Path, *_: int) -> RunSummary:
    """Return the summary of a record. It is cached until one of the further arguments changes.

    Raises:
        OSError: the file cannot be read.
    """
    name = path.parent.name
    text = read_regular(path)
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
        seconds=measure_seconds(started, finished),
        rounds=_count(facts.get("rounds")) or 0,
        num_rounds=_count(settings.get("NUM_ROUNDS")),
        best=_find_best(facts.get("best")),
        model_sha256=_text(facts.get("model_sha256")),
    )


def clean_document(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return the entries that come from `run.json`, each with the type it must have."""
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


def measure_seconds(started: str | None, finished: str | None) -> float | None:
    """Return the seconds between two times; None if one of them is unknown."""
    try:
        begin = datetime.fromisoformat(started or "")
        return max((datetime.fromisoformat(finished or "") - begin).total_seconds(), 0.0)
    # A time without a zone cannot be subtracted from one with a zone.
    except (ValueError, TypeError):
        return None


def sort_key(run: RunSummary) -> tuple[str, str]:
    """Return the key that sorts runs by their start; the id of a run contains it, too."""
    digits = re.sub(r"\D", "", run.started or run.run_id)
    return digits[:14], run.run_id
