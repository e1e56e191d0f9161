"""The part of the screen with the nodes. If they do not all fit, those with problems come first."""

import re
from collections import Counter
from collections.abc import Sequence

from rich.text import Text

from server.watching.columns import Column, make_lines
from server.watching.figures import show_figure, show_nodes
from server.watching.metrics import order
from server.watching.snapshot import Node, Snapshot

_STYLES = {"gone": "bold red", "expelled": "bold red", "loading": "yellow", "awaited": "cyan"}
_STATES = ("ready", "loading", "gone", "expelled")
_METRICS_SHOWN = 3
_NUMBER = re.compile(r"([0-9]{1,18})")


class Nodes:
    """The nodes of a snapshot, as lines.

    Args:
        snapshot: the run.
    """

    def __init__(self, snapshot: Snapshot) -> None:
        self._awaited = frozenset(snapshot.activity.awaited)
        # Nodes leave once the run has ended, which is not a problem.
        self._has_ended = snapshot.has_ended
        self._nodes = sorted(snapshot.nodes, key=lambda node: _split(node.name))
        self._prefix = find_prefix([node.name for node in snapshot.nodes])

    def __len__(self) -> int:
        return len(self._nodes)

    def render(self, width: int, room: int) -> list[Text]:
        """Return a summary, a heading and a line for each node, in at most `room` lines."""
        rows = max(0, room - 2)
        shown = self._choose(rows)
        summary = Text(self._summarize(len(self._nodes) - len(shown)))
        table = make_lines(self._make_columns(shown), width) if shown else []
        return [summary, *table][:room]

    def _choose(self, rows: int) -> Sequence[Node]:
        if len(self._nodes) <= rows:
            return self._nodes
        return sorted(self._nodes, key=self._rank)[:rows]

    def _rank(self, node: Node) -> tuple[int, int]:
        """Return the rank of a node: first those with problems, then those that are awaited."""
        problems = node.rejected + node.missing + node.left_out
        if node.is_absent and not self._has_ended:
            return 0, -problems
        if problems:
            return 1, -problems
        if node.state == "loading":
            return 2, 0
        return (3 if node.name in self._awaited else 4), 0

    def _summarize(self, hidden: int) -> str:
        found = Counter(node.state for node in self._nodes if node.state and not self._has_ended)
        parts = [f"{found[state]} {state}" for state in _STATES if found[state]]
        rejected = sum(1 for node in self._nodes if node.rejected)
        if rejected:
            parts.append(f"{rejected} with rejected updates")
        total = show_nodes(len(self._nodes)) + (f" ({hidden} not shown)" if hidden else "")
        return f"{total}: {', '.join(parts)}" if parts else total

    def _make_columns(self, nodes: Sequence[Node]) -> list[Column]:
        states = [self._describe_state(node) for node in nodes]
        metrics = order(name for node in nodes for name in node.metrics)[:_METRICS_SHOWN]
        names = [node.name.removeprefix(self._prefix) for node in nodes]
        columns = [
            Column("node", names, is_text=True),
            Column("state", states, rank=1, is_text=True, styles=[_STYLES.get(s, "") for s in states]),
            Column("examples/s", [_show_speed(node.examples_per_second) for node in nodes], rank=4),
            *(
                Column(name, [show_figure(node.metrics.get(name)) for node in nodes], rank=3 + at)
                for at, name in enumerate(metrics)
            ),
        ]
        for heading, counts in (
            ("rejected", [node.rejected for node in nodes]),
            ("missing", [node.missing for node in nodes]),
            ("left out", [node.left_out for node in nodes]),
        ):
            if any(counts):
                styles = ["yellow" if count else "" for count in counts]
                columns.append(Column(heading, list(map(str, counts)), rank=2, styles=styles))
        return columns

    def _describe_state(self, node: Node) -> str:
        if self._has_ended or not node.state:
            return "-"
        return "awaited" if node.name in self._awaited and not node.is_absent else node.state


def find_prefix(names: Sequence[str]) -> str:
    """Return the prefix with the site's name, if all nodes have the same; otherwise an empty text."""
    sites = {name.partition(".")[0] for name in names}
    is_shared = len(sites) == 1 and all("." in name for name in names)
    return f"{sites.pop()}." if is_shared else ""


def _split(name: str) -> list[tuple[int, str]]:
    """Split a name for sorting, where 10 comes after 9."""
    return [(int(part) if part.isdecimal() else -1, part) for part in _NUMBER.split(name)]


def _show_speed(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}"
