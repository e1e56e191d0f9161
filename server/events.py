"""`python -m server events`: prints the event logs of the server and of its authority, sorted by time."""

import argparse
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from fedmx.deployment_settings import PkiSettings
from fedmx.errors import SettingsError
from fedmx.event_log import read_events
from fedmx.files import disk_errors
from fedmx.log import printable, show
from fedmx.pki.authority import Authority
from fedmx.program import ArgumentParser
from fedmx.settings import ModelSettings, load

SUMMARY = "list joins, leaves, refusals, certificates and runs"
_HEADER = ("TIME", "EVENT", "WHO", "DETAILS")
# WHO is the first of these fields that an event has.
_WHO = ("node", "site", "run", "role", "address")
_UNITS = {"m": "minutes", "h": "hours", "d": "days"}
_AGE = re.compile(r"([0-9]{1,6})([mhd])")


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("--json", action="store_true", help="print JSON lines")
    parser.add_argument(
        "--since",
        type=_parse_since,
        metavar="WHEN",
        help="only events since a time such as 2026-03-01 or 2026-03-01T09:30Z, or for 30m, 12h or 7d",
    )


def run(arguments: argparse.Namespace) -> None:
    """Print the events.

    Raises:
        SettingsError: a setting is not valid.
        DataError: a file cannot be read.
    """
    folders = (load(ModelSettings).runs_dir, Authority.events_folder(load(PkiSettings)))
    events = list_events(folders, arguments.since)
    if arguments.json:
        for event in events:
            print(json.dumps(event))
    elif events:
        for line in make_table(events):
            print(line)
    else:
        since = "" if arguments.since is None else f" since {arguments.since.isoformat()}"
        print(f"no events{since} in {' or '.join(str(folder) for folder in folders)}")


def list_events(folders: Sequence[Path], since: datetime | None = None) -> list[Mapping[str, Any]]:
    """List the events of some folders since a time, oldest first.

    Raises:
        DataError: a file cannot be read.
    """
    events = []
    for folder in folders:
        with disk_errors(folder, reads=True):
            events += read_events(folder)
    # Lines may have been edited: those without a valid time come first, whatever `since` is.
    timed = [(_find_time(event), event) for event in events]
    timed.sort(key=lambda pair: pair[0] or datetime.min.replace(tzinfo=UTC))
    return [event for time, event in timed if since is None or time is None or time >= since]


def make_table(events: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield the lines of a table."""
    rows = [_HEADER, *map(_make_row, events)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()


def _make_row(event: Mapping[str, Any]) -> tuple[str, str, str, str]:
    time = _find_time(event)
    who = next((name for name in _WHO if event.get(name)), None)
    details = {name: value for name, value in event.items() if name not in ("time", "event", who)}
    return (
        f"{time.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}" if time else "unknown",
        printable(event["event"]),
        printable(str(event[who])) if who else "",
        " ".join(f"{printable(name)}={show(value)}" for name, value in details.items()),
    )


def _find_time(event: Mapping[str, Any]) -> datetime | None:
    try:
        return _as_utc(datetime.fromisoformat(event["time"]))
    except (ValueError, OverflowError):
        return None


def _parse_since(text: str) -> datetime:
    """Parse the time since which events are listed.

    Raises:
        SettingsError: it is neither a time nor an age.
    """
    try:
        if age := _AGE.fullmatch(text):
            return datetime.now(UTC) - timedelta(**{_UNITS[age[2]]: int(age[1])})
        return _as_utc(datetime.fromisoformat(text))
    except (ValueError, OverflowError):
        raise SettingsError(
            f"--since {printable(text)}: not a time; expected one such as 2026-03-01 or 2026-03-01T09:30Z, or"
            " an age such as 30m, 12h or 7d"
        ) from None


def _as_utc(time: datetime) -> datetime:
    """Return a time with a zone, by default UTC."""
    return time if time.tzinfo else time.replace(tzinfo=UTC)
