"""The history of a long run of many nodes, as the server would have written it."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def build_line(number: int, nodes: int) -> dict[str, Any]:
    """Build a round's line of `history.jsonl`."""
    loss = 2.345678901 / math.sqrt(number)
    metrics = {"loss": loss, "accuracy": 1 - loss / 3, "f1": 1 - loss / 4, "precision": 1 - loss / 5}
    entries = [
        {
            "name": f"hospital-{index % 40:02}.node-{index:03}",
            "site": f"hospital-{index % 40:02}",
            "partition": index,
            "examples": 300.0 + index,
            "metrics": {"loss": loss * (1 + index / 997), "accuracy": 0.5},
            "evaluate": {
                "num_examples": 50.0,
                "metrics": {name: value * (1 + index / 991) for name, value in metrics.items()},
            },
            "seconds": 12.3456 + index / 100,
            "bytes_up": 1_234_567,
            "bytes_down": 1_234_890,
        }
        for index in range(nodes)
    ]
    return {
        "round": number,
        "learning_rate": 0.05,
        "train": {"num_examples": 60_000.0, "metrics": {"loss": loss, "accuracy": 0.5}},
        "evaluate": {"num_examples": 10_000.0, "metrics": metrics},
        "nodes": entries,
        "only_evaluated": [],
        "rejected": [{**_pick(entries[0]), "step": "train", "reason": "array 'w' is missing"}],
        "undefined": [],
        "missing": [_pick(entries[-1])],
        "left_out": [],
        "privacy": {"epsilon": 0.01 * number, "delta": 1e-5},
        "seconds": {"train": 12.3, "aggregate": 0.4, "evaluate": 3.2, "checkpoint": 0.1, "total": 16.0},
        "time": f"2026-01-02T03:{number // 60 % 60:02}:{number % 60:02}+00:00",
    }


def _pick(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a round knows of a node without a reply."""
    return {name: entry[name] for name in ("name", "site", "partition")}


def write_run(folder: Path, rounds: int, nodes: int, settings: Mapping[str, object]) -> None:
    """Write a run that trains."""
    folder.mkdir(parents=True)
    facts: dict[str, Any] = {
        "run_id": folder.name,
        "status": "running",
        "started": "2026-01-02T03:00:00+00:00",
        "finished": None,
        "resumed": [],
        "rounds": rounds,
        "settings": dict(settings),
        "versions": {"fedmx": "0.1.0"},
    }
    (folder / "run.json").write_text(json.dumps(facts))
    with (folder / "history.jsonl").open("w") as file:
        for number in range(1, rounds + 1):
            file.write(json.dumps(build_line(number, nodes)) + "\n")
