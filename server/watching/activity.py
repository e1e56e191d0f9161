"""Describes what the server does at the moment."""

from datetime import datetime

from fedmx.listing import list_names
from server.watching.figures import show_duration
from server.watching.nodes import find_prefix
from server.watching.snapshot import Activity, Snapshot

_NAMES_SHOWN = 3


def describe_activity(snapshot: Snapshot, now: datetime) -> str:
    """Describe what the server does and waits for, since when and until when; empty if that is unknown.

    Args:
        snapshot: the run.
        now: the time, on the clock of the server.
    """
    activity = snapshot.activity
    if not activity.name or activity.name == "idle":
        return ""
    what = activity.name + (f" in round {activity.round}" if activity.round else "")
    if activity.since:
        since = activity.since.astimezone().strftime("%H:%M:%S")
        what += f" since {since} ({show_duration((now - activity.since).total_seconds())})"
    prefix = find_prefix([node.name for node in snapshot.nodes])
    details = [*_list_fields(activity, prefix), *_describe_limit(activity, now)]
    return what + (f": {'; '.join(details)}" if details else "")


def _list_fields(activity: Activity, prefix: str) -> list[str]:
    """Describe what the server waits for."""
    fields = activity.fields
    parts = []
    if "wanted" in fields:
        by = f" ({fields['wanted_by']})" if "wanted_by" in fields else ""
        parts.append(f"{fields.get('ready', 0)} of {fields['wanted']} nodes are ready{by}")
    if "answered" in fields:
        answered = str(fields["answered"])
        total = f" of {len(activity.awaited) + int(answered)}" if answered.isdecimal() else ""
        parts.append(f"{answered}{total} answered")
    for name in ("awaited", "missing", "loading"):
        names = fields.get(name)
        if isinstance(names, list) and names:
            shown = (
                f"{each.removeprefix(prefix)} (gone)" if each in activity.gone else each.removeprefix(prefix)
                for each in names
            )
            parts.append(f"{name}: {list_names(shown, _NAMES_SHOWN)}")
    transfers = str(fields.get("transfers", ""))
    if transfers.isdecimal():
        # While there are any, the time that is left stands still.
        parts.append(f"transfers: {transfers}")
    return parts


def _describe_limit(activity: Activity, now: datetime) -> list[str]:
    parts = []
    if activity.until:
        left = show_duration((activity.until - now).total_seconds())
        then = f", then {activity.then}" if activity.then else ""
        parts.append(f"{left} left ({activity.limit}){then}")
    if activity.hint:
        parts.append(activity.hint)
    return parts
