"""The numbers of a round as named values, for TensorBoard and MLflow."""

from collections.abc import Iterator, Mapping
from typing import Any

# A tracker that has this value of a round has all others of the round, too.
LAST = "seconds/total"

_OF_NODES = ("examples", "seconds", "bytes_up", "bytes_down")


def list_values(line: Mapping[str, Any]) -> dict[str, float]:
    """Return the values of the whole federation in a round.

    Args:
        line: of `history.jsonl`.
    """
    values: dict[str, float | None] = {}
    for step in ("evaluate", "train"):
        metrics = (line.get(step) or {}).get("metrics", {})
        values |= {f"{step}/{name}": value for name, value in metrics.items()}
    values["learning_rate"] = line.get("learning_rate")
    values["epsilon"] = (line.get("privacy") or {}).get("epsilon")
    values["nodes"] = len(line.get("nodes", ()))
    values["rejected"] = len(line.get("rejected", ()))
    values |= {f"seconds/{part}": value for part, value in line.get("seconds", {}).items()}
    return _leave_out_missing(values)


def list_node_values(line: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, float]]]:
    """Yield each node of a round with its values, which have the same names as those of the federation."""
    for entry in (*line.get("nodes", ()), *line.get("only_evaluated", ())):
        evaluated = (entry.get("evaluate") or {}).get("metrics", {})
        values: dict[str, float | None] = {f"evaluate/{name}": value for name, value in evaluated.items()}
        values |= {f"train/{name}": value for name, value in entry.get("metrics", {}).items()}
        # For a node that was only evaluated, these are absent, not 0.
        names = _OF_NODES if entry.get("examples") is not None else ("bytes_up", "bytes_down")
        values |= {name: entry.get(name) for name in names}
        yield entry["name"], _leave_out_missing(values)


def _leave_out_missing(values: Mapping[str, float | None]) -> dict[str, float]:
    return {name: value for name, value in values.items() if value is not None}
