"""The overview of a run, computed from its history: curves, nodes, sites and rejections.

The live page, the terminal, the commands for runs and the metrics show parts of one document, which
`Overview.describe` returns as JSON values. Its size is bounded: long curves of many nodes are sampled.
"""

import json
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fedmx.files import NotRegularError, open_regular, read_regular
from server.curves import Curves, choose_rounds

# Values of all nodes' curves in a document: with 200 nodes and four metrics, each curve has 50 points.
_MOST_NODE_VALUES = 40_000
_MOST_REJECTIONS = 100
_ABOUT = ("run_id", "status", "reason", "exit_code", "started", "finished", "resumed", "best", "stopped")
_ABOUT_MODEL = ("format", "model_sha256", "model_bytes", "partitions", "settings", "versions")
_NODES = ("nodes", "rejected", "missing", "left_out")
_KINDS = {"round": int, "seconds": dict, **dict.fromkeys(_NODES, list)}
# Of a 64-bit integer.
_MOST_ROUNDS = 2**63

Line = Mapping[str, Any]


@dataclass
class _Node:
    """What is known of a node: its newest round, and totals over all rounds."""

    name: str
    site: str | None = None
    partition: int | None = None
    rounds: int = 0
    examples: float | None = None
    examples_total: float = 0.0
    seconds: float | None = None
    bytes_up: int | None = 0
    bytes_down: int | None = 0
    rejected: int = 0
    missing: int = 0
    left_out: int = 0
    metrics: Mapping[str, float] = field(default_factory=dict)
    train: Mapping[str, float] = field(default_factory=dict)

    def add(self, entry: Line) -> None:
        """Add the node's entry of one round."""
        self.bytes_up = _add([self.bytes_up, entry["bytes_up"]])
        self.bytes_down = _add([self.bytes_down, entry["bytes_down"]])
        if entry.get("examples") is not None:
            self.rounds += 1
            self.examples = entry["examples"]
            self.examples_total += entry["examples"]
            self.seconds = entry["seconds"]
            self.train = entry["metrics"]
        if entry.get("evaluate"):
            self.metrics = entry["evaluate"]["metrics"]

    def describe(self, local_epochs: float) -> dict[str, Any]:
        """Return it with its training speed, in which an example counts once per epoch."""
        is_known = self.examples is not None and self.seconds
        speed = self.examples * local_epochs / self.seconds if is_known else None  # type: ignore[operator]
        return {**vars(self), "examples_per_second": speed}


class Overview:
    """Adds up the rounds of a run, one at a time."""

    def __init__(self) -> None:
        self._curves = Curves()
        self._node_curves: dict[str, Curves] = {}
        self._nodes: dict[str, _Node] = {}
        self._rejections: deque[dict[str, Any]] = deque(maxlen=_MOST_REJECTIONS)
        self._privacy: Mapping[str, float] | None = None

    @property
    def last_round(self) -> int:
        """The number of the newest round; 0 if there is none."""
        return self._curves.rounds[-1] if self._curves.rounds else 0

    def add(self, line: Line) -> None:
        """Add a round, as a line of `history.jsonl` has it."""
        number = line["round"]
        entries = [*line["nodes"], *line.get("only_evaluated", ())]
        self._privacy = line.get("privacy")
        self._curves.add(number, _list_values(line, entries), text={"time": line.get("time", "")})
        for entry in entries:
            self._find_node(entry).add(entry)
            if entry.get("evaluate"):
                curves = self._node_curves.setdefault(entry["name"], Curves())
                curves.add(number, entry["evaluate"]["metrics"])
        for rejection in line["rejected"]:
            self._find_node(rejection).rejected += 1
            self._rejections.append({"round": number, **rejection})
        for entry in line["missing"]:
            self._find_node(entry).missing += 1
        for entry in line["left_out"]:
            self._find_node(entry).left_out += 1

    def describe(self, facts: Line) -> dict[str, Any]:
        """Return the document.

        Args:
            facts: the content of the run's `run.json`.
        """
        settings = facts.get("settings") or {}
        nodes = sorted(self._nodes.values(), key=lambda node: (node.partition or 0, node.name))
        return {
            **{name: facts.get(name) for name in (*_ABOUT, *_ABOUT_MODEL)},
            "name": facts.get("name", ""),
            "notes": facts.get("notes", ""),
            "task": (facts.get("description") or {}).get("task"),
            "tags": facts.get("tags", []),
            "num_rounds": settings.get("NUM_ROUNDS"),
            "rounds": self.last_round,
            "curves": self._describe_curves(),
            "privacy": self._privacy,
            "nodes": [node.describe(settings.get("LOCAL_EPOCHS", 1)) for node in nodes],
            "sites": _sum_sites(nodes),
            "node_curves": self._describe_node_curves(),
            "rejections": list(self._rejections),
        }

    def _find_node(self, entry: Line) -> _Node:
        """Return the node of an entry, with the site and the partition that the entry has."""
        node = self._nodes.setdefault(entry["name"], _Node(entry["name"]))
        node.site, node.partition = entry.get("site"), entry.get("partition")
        return node

    def _describe_curves(self) -> dict[str, Any]:
        curves = self._curves
        groups: dict[str, Any] = {"evaluate": {}, "train": {}, "seconds": {}}
        for name in curves.names:
            group, _, rest = name.partition(".")
            values = curves.values(name)
            if rest:
                groups[group][rest] = values
            else:
                groups[name] = values
        return {"rounds": list(curves.rounds), "time": curves.texts("time"), **groups}

    def _describe_node_curves(self) -> dict[str, Any]:
        number = sum(len(curves.names) for curves in self._node_curves.values())
        rounds = choose_rounds(self._curves.rounds, _MOST_NODE_VALUES // max(number, 1))
        nodes = {
            name: {metric: curves.values(metric, rounds) for metric in curves.names}
            for name, curves in self._node_curves.items()
        }
        return {"rounds": rounds, "nodes": nodes}


def read_overview(folder: Path) -> dict[str, Any]:
    """Return the document of a run on disk. Lines of its history that cannot be read are left out.

    Raises:
        OSError: `run.json` cannot be read.
        ValueError: `run.json` is not a JSON object.
    """
    facts = json.loads(read_regular(folder / "run.json"))
    if not isinstance(facts, dict):
        raise ValueError("it is not a JSON object")  # noqa: TRY004 - the content of a file is at fault
    overview = Overview()
    for line in read_lines(folder / "history.jsonl"):
        overview.add(line)
    return overview.describe(facts)


def read_lines(path: Path) -> Iterable[Line]:
    """Yield the readable rounds of a history file; none if there is no regular file."""
    try:
        file = open_regular(path)
    except (FileNotFoundError, NotRegularError):
        return
    # One line at a time: a long history of many nodes is larger than some models.
    with file:
        for text in file:
            try:
                line = json.loads(text)
            except (ValueError, RecursionError):
                continue
            if _is_round(line):
                yield line


def _is_round(line: object) -> bool:
    """Return whether a line has what every round has; a file may have been edited."""
    return (
        isinstance(line, dict)
        and all(isinstance(line.get(name), kind) for name, kind in _KINDS.items())
        and 0 <= line["round"] < _MOST_ROUNDS
        and all(_is_entry(entry) for name in _NODES for entry in line[name])
        and all(isinstance(one.get("reason"), str) for one in line["rejected"])
    )


def _is_entry(entry: object) -> bool:
    """Return whether an entry about a node has texts where names are expected."""
    return (
        isinstance(entry, dict)
        and isinstance(entry.get("name"), str)
        and isinstance(entry.get("site"), str | None)
    )


def _list_values(line: Line, entries: Sequence[Line]) -> dict[str, float | None]:
    """Return the values of a round by curve; those of a group are named `group.name`."""
    values: dict[str, float | None] = {
        "learning_rate": line.get("learning_rate"),
        "nodes": len(line["nodes"]),
        "missing": len(line["missing"]),
        "left_out": len(line["left_out"]),
        "bytes_up": _add(entry["bytes_up"] for entry in entries),
        "bytes_down": _add(entry["bytes_down"] for entry in entries),
    }
    if line.get("privacy"):
        values["epsilon"] = line["privacy"]["epsilon"]
    for step in ("evaluate", "train"):
        metrics = (line.get(step) or {}).get("metrics", {})
        values |= {f"{step}.{name}": value for name, value in metrics.items()}
    return values | {f"seconds.{part}": value for part, value in line["seconds"].items()}


def _add(numbers: Iterable[int | None]) -> int | None:
    """Return the sum; None if a number is not known."""
    numbers = list(numbers)
    return None if None in numbers else sum(number or 0 for number in numbers)


def _sum_sites(nodes: Iterable[_Node]) -> list[dict[str, Any]]:
    sites: dict[str, dict[str, Any]] = {}
    for node in nodes:
        name = node.site or node.name
        site = sites.setdefault(
            name,
            {
                "site": name,
                "nodes": 0,
                "rounds": 0,
                "examples": 0.0,
                "bytes_up": 0,
                "bytes_down": 0,
                "rejected": 0,
            },
        )
        site["nodes"] += 1
        site["rounds"] = max(site["rounds"], node.rounds)
        site["examples"] += node.examples_total
        for total in ("bytes_up", "bytes_down", "rejected"):
            site[total] = _add([site[total], getattr(node, total)])
    return sorted(sites.values(), key=lambda site: str(site["site"]))
