"""The tables at the end of a run: of its rounds, and of its nodes, so that a weak site stands out."""

import math
from collections.abc import Iterable, Sequence

from rich import box
from rich.table import Table
from rich.text import Text

from local.results import Nodes, Round, Totals

_LOSS = "loss"
_DIGITS_OF_SECONDS = 3
_MOST_NODES = 20


def make_table(rounds: Sequence[Round]) -> Table:
    """Build a table of rounds, with a column for each metric that any of them has.

    For the training, only the loss is shown, or all metrics if it does not measure a loss.
    """
    trained = order(name for row in rounds for name in row.train)
    trained = [_LOSS] if _LOSS in trained else trained
    evaluated = order(name for row in rounds for name in row.evaluate)
    table = Table(box=box.SIMPLE)
    for heading in ("round", "nodes", *(f"train {name}" for name in trained), *evaluated, "seconds"):
        table.add_column(heading, justify="right")
    for row in rounds:
        figures = [*map(row.train.get, trained), *map(row.evaluate.get, evaluated)]
        table.add_row(str(row.number), str(row.nodes), *map(show_figure, figures), _show_seconds(row.seconds))
    return table


def make_node_table(nodes: Nodes) -> Table:
    """Build a table of the nodes of a round, the worst first, and of all of them together."""
    rows = [*nodes.worst_first[:_MOST_NODES], nodes.total]
    trained = order(name for row in rows for name in row.train)
    trained = [_LOSS] if _LOSS in trained else trained
    evaluated = order(name for row in rows for name in row.evaluate)
    table = Table(box=box.SIMPLE)
    table.add_column("node")
    for heading in ("examples", *(f"train {name}" for name in trained), "tested", *evaluated):
        table.add_column(heading, justify="right")
    for row in rows:
        table.add_row(
            # Names came from the nodes: they are not markup.
            Text(row.name),
            _show_count(row.examples),
            *map(show_figure, map(row.train.get, trained)),
            _show_count(row.tested),
            *map(show_figure, map(row.evaluate.get, evaluated)),
            end_section=row is rows[-2],
        )
    return table


def make_totals_table(nodes: Sequence[Totals]) -> Table:
    """Build a table of what nodes contributed over all rounds; those of which most was lost come first."""
    # Not in a simulation.
    is_measured = any(node.bytes_down for node in nodes)
    losses = [what for what in nodes[0].lost if what == "rejected" or any(node.lost[what] for node in nodes)]
    table = Table(box=box.SIMPLE)
    table.add_column("node")
    for heading in ("rounds", "examples", *(("MB up", "MB down") if is_measured else ()), *losses):
        table.add_column(heading, justify="right")
    for node in sorted(nodes, key=lambda node: -sum(node.lost.values()))[:_MOST_NODES]:
        measured = (node.bytes_up, node.bytes_down) if is_measured else ()
        sizes = ("-" if size is None else f"{size / 1e6:.1f}" for size in measured)
        lost = (str(node.lost[what]) for what in losses)
        table.add_row(Text(node.name), str(node.rounds), _show_count(node.examples), *sizes, *lost)
    return table


def describe_totals(nodes: Sequence[Totals]) -> str:
    """Return the heading of a table of totals."""
    more = len(nodes) - _MOST_NODES
    return "all rounds, by node" + (f"; {more} more are in history.jsonl" if more > 0 else "")


def describe_order(nodes: Nodes) -> str:
    """Return the heading of a table of nodes."""
    more = len(nodes.worst_first) - _MOST_NODES
    parts = [
        f"nodes in round {nodes.round}",
        f"worst {nodes.metric} first" if nodes.metric else "",
        f"{more} more are in history.jsonl" if more > 0 else "",
    ]
    return ", ".join(filter(None, parts))


def order(names: Iterable[str]) -> list[str]:
    """Return each name once, the loss first."""
    return sorted(dict.fromkeys(names), key=lambda name: name != _LOSS)


def show_figure(value: float | None) -> str:
    """Show four decimals; `-` for a figure that is missing."""
    return "-" if value is None else f"{value:.4f}"


def _show_seconds(value: float | None) -> str:
    """Show three significant digits, because a round takes milliseconds or hours."""
    if not value:
        return "-" if value is None else "0"
    digits = max(0, _DIGITS_OF_SECONDS - 1 - math.floor(math.log10(value)))
    return f"{value:.{digits}f}"


def _show_count(value: float | None) -> str:
    return "-" if value is None else f"{value:.10g}"
