"""Status documents for tests, as a server sends them."""

from typing import Any


def make_document(rounds: int = 3, nodes: int = 2, **changes: Any) -> dict[str, Any]:
    """Return the status of a run with so many finished rounds and nodes.

    Args:
        rounds: the finished rounds.
        nodes: the nodes, named `site.client-1` and so on.
        changes: fields of the status that are another.
    """
    numbers = list(range(1, rounds + 1))
    names = [f"site.client-{number}" for number in range(1, nodes + 1)]
    run = {
        "run_id": "20261126-120000-abcd",
        "name": "first try",
        "status": "running",
        "started": "2026-11-26T12:00:00+00:00",
        "finished": None,
        "num_rounds": 10,
        "best": {"round": 2, "metric": "loss", "value": 0.5},
        "curves": {
            "rounds": numbers,
            "evaluate": {"accuracy": [0.5 + n / 100 for n in numbers], "loss": [1 / n for n in numbers]},
            "train": {"loss": [2 / n for n in numbers]},
            "seconds": {"total": [2.5 for _ in numbers]},
            "nodes": [nodes for _ in numbers],
        },
        "nodes": [
            {
                "name": name,
                "examples_per_second": 1234.0,
                "metrics": {"loss": 0.25},
                "rejected": 0,
                "missing": 0,
            }
            for name in names
        ],
    }
    return {
        "state": "running",
        "now": "2026-11-26T12:01:00+00:00",
        "run": run,
        "activity": {
            "name": "train",
            "round": rounds + 1,
            "since": "2026-11-26T12:00:50+00:00",
            "waiting": {
                "fields": {"answered": 1, "awaited": names[-1:]},
                "until": "2026-11-26T12:02:00+00:00",
                "limit": "ROUND_TIMEOUT",
                "then": "the round ends",
                "hint": None,
                "gone": [],
            },
        },
        "nodes": [{"name": name, "site": "site", "device": "cpu(0)", "state": "ready"} for name in names],
        **changes,
    }
