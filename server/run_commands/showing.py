"""The text of `runs show`: facts, curves, settings, nodes and files of a run."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from fedmx.log import printable
from server.run_commands import settings_shown, text
from server.run_commands.listing import show_rounds

Document = Mapping[str, Any]

_NODE_HEADER = (
    "NAME",
    "SITE",
    "PARTITION",
    "ROUNDS",
    "EXAMPLES",
    "EX/S",
    "SENT",
    "RECEIVED",
    "REJECTED",
    "MISSING",
    "LEFT OUT",
)
_SITE_HEADER = ("SITE", "NODES", "ROUNDS", "EXAMPLES", "SENT", "RECEIVED", "REJECTED")
_MODELS = ("model.npz", "model.params", "best.npz", "best.params")
_CURVE_WIDTH = 40
_MOST_REJECTIONS = 10


def show_lines(document: Document, folder: Path, seconds: float | None) -> Iterator[str]:
    """Yield the lines about a run.

    Args:
        document: the run.
        folder: its folder.
        seconds: from its beginning to its end, or until now.
    """
    facts = [(label, value) for label, value in _list_facts(document, folder, seconds) if value]
    for label, value in facts:
        yield f"{label:<10}  {value}"
    for title, lines in (
        ("curves", _list_curves(document)),
        ("settings that differ from the defaults", _list_settings(document)),
        ("nodes", _list_nodes(document)),
        ("sites", _list_sites(document)),
        ("rejected updates", _list_rejections(document)),
        ("files", _list_files(folder)),
    ):
        shown = list(lines)
        if shown:
            yield ""
            yield title
            yield from (f"  {line}" for line in shown)


def _list_facts(document: Document, folder: Path, seconds: float | None) -> Iterator[tuple[str, str]]:
    yield "run", printable(document["run_id"])
    yield "name", printable(str(document["name"]))
    yield "notes", "\n            ".join(map(printable, str(document["notes"]).splitlines()))
    yield "tags", printable(", ".join(map(str, document["tags"] or ())))
    yield "status", printable(document["status"])
    yield "reason", printable(str(document["reason"] or document["stopped"] or ""))
    yield "task", printable(str(document["task"] or ""))
    yield "rounds", show_rounds(document["rounds"], document["num_rounds"])
    yield "best", text.show_best(document["best"]) if document["best"] else ""
    started = f"{text.show_time(document['started'])}, {text.show_duration(seconds)}"
    resumed = len(document["resumed"] or ())
    yield "started", f"{started}, resumed: {resumed}" if resumed else started
    yield "privacy", _show_privacy(document["privacy"])
    if document["model_sha256"]:
        yield "model", f"{text.show_bytes(document['model_bytes'] or 0)}, SHA-256 {document['model_sha256']}"
    versions = document["versions"] or {}
    yield "versions", printable(", ".join(f"{name} {version}" for name, version in versions.items()))
    yield "folder", str(folder)


def _show_privacy(spent: Mapping[str, float] | None) -> str:
    return f"epsilon {text.show_number(spent['epsilon'])} at delta {spent['delta']:g}" if spent else ""


def _list_curves(document: Document) -> Iterator[str]:
    curves = document["curves"]
    for step in ("evaluate", "train"):
        for metric, curve in curves[step].items():
            low, high = text.find_range([curve])
            drawn = text.draw(curve, _CURVE_WIDTH, low, high)
            ends = f"{text.show_number(curve[0])} to {text.show_number(text.find_last(curve))}"
            yield f"{step:<8} {text.shorten(metric, 12):<12} {drawn}  {ends}"


def _list_settings(document: Document) -> Iterator[str]:
    for name, value in settings_shown.list_changed(document["settings"] or {}).items():
        yield f"{name}={printable(value)}"


def _list_nodes(document: Document) -> Iterator[str]:
    rows = [
        (
            printable(node["name"]),
            printable(node["site"] or ""),
            "" if node["partition"] is None else str(node["partition"]),
            str(node["rounds"]),
            text.show_number(node["examples"]),
            text.show_number(node["examples_per_second"]),
            text.show_bytes(node["bytes_up"]),
            text.show_bytes(node["bytes_down"]),
            str(node["rejected"] or ""),
            str(node["missing"] or ""),
            str(node["left_out"] or ""),
        )
        for node in document["nodes"]
    ]
    return text.make_table(_NODE_HEADER, rows) if rows else iter(())


def _list_sites(document: Document) -> Iterator[str]:
    """List the sites, unless each has a single node."""
    sites = document["sites"]
    if len(sites) == len(document["nodes"]):
        return iter(())
    rows = [
        (
            printable(site["site"]),
            str(site["nodes"]),
            str(site["rounds"]),
            text.show_number(site["examples"]),
            text.show_bytes(site["bytes_up"]),
            text.show_bytes(site["bytes_down"]),
            str(site["rejected"] or ""),
        )
        for site in sites
    ]
    return text.make_table(_SITE_HEADER, rows)


def _list_rejections(document: Document) -> Iterator[str]:
    """List the newest rejections."""
    found = document["rejections"]
    if len(found) > _MOST_REJECTIONS:
        yield f"the newest {_MOST_REJECTIONS} of {sum(node['rejected'] for node in document['nodes'])}:"
    for one in found[-_MOST_REJECTIONS:]:
        yield f"round {one['round']}, {printable(one['name'])}: {printable(one['reason'])}"


def _list_files(folder: Path) -> Iterator[str]:
    for name in _MODELS:
        path = folder / name
        if path.is_file():
            yield f"{path}  {text.show_bytes(path.stat().st_size)}"
