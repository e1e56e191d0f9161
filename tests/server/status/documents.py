"""Documents of runs as the status server sends them, made up: with any number of rounds and nodes."""

import math
from datetime import UTC, datetime, timedelta
from typing import Any

_BEGIN = datetime(2026, 3, 2, 9, 0, 0, tzinfo=UTC)
_METRICS = ("loss", "accuracy")
_MOST_VALUES = 40_000


def write_time(seconds: float) -> str:
    return (_BEGIN + timedelta(seconds=seconds)).isoformat(timespec="seconds")


def make_document(rounds: int, nodes: int, /, **replaced: Any) -> dict[str, Any]:
    """Return the document of a run whose loss falls and whose accuracy rises."""
    names = [f"site-{index % 7}.client-{index + 1}" for index in range(nodes)]
    numbers = list(range(1, rounds + 1))
    document = {
        "run_id": "20260302-090000-ab12",
        "name": "",
        "notes": "",
        "tags": [],
        "status": "finished",
        "reason": None,
        "exit_code": None,
        "started": write_time(0),
        "finished": write_time(2.5 * rounds + 5),
        "resumed": [],
        "num_rounds": rounds,
        "rounds": rounds,
        "best": {"round": rounds, "metric": "loss", "value": _compute("loss", rounds, 0)} if rounds else None,
        "stopped": None,
        "model_sha256": "ab" * 32,
        "model_bytes": 872_232,
        "partitions": nodes,
        "settings": {"NUM_ROUNDS": rounds, "LEARNING_RATE": 0.05, "STRATEGY": "fedavg", "SEED": 0},
        "versions": {"fedmx": "0.1.0", "python": "3.11.7"},
        "curves": _make_curves(numbers, nodes),
        "privacy": None,
        "nodes": [_make_node(name, index, rounds) for index, name in enumerate(names)],
        "sites": _make_sites(names, rounds),
        "node_curves": _make_node_curves(numbers, names),
        "rejections": [],
    }
    return document | replaced


def make_summary(document: dict[str, Any]) -> dict[str, Any]:
    """Return what the list of runs has of a document."""
    names = (
        "run_id",
        "name",
        "tags",
        "status",
        "reason",
        "started",
        "finished",
        "rounds",
        "num_rounds",
        "best",
    )
    return {name: document[name] for name in (*names, "model_sha256")} | {"seconds": 2.5 * document["rounds"]}


def make_status(document: dict[str, Any], state: str = "running", **replaced: Any) -> dict[str, Any]:
    """Return a status while a run does this."""
    status: dict[str, Any] = {
        "fedmx": "0.1.0",
        "now": write_time(2.5 * document["rounds"] + 1),
        "state": state,
        "run": document,
        "activity": {
            "name": "train",
            "round": document["rounds"] + 1,
            "step": "train",
            "since": write_time(2.5 * document["rounds"]),
            "waiting": None,
        },
        "nodes": [
            {
                "name": node["name"],
                "site": node["site"],
                "partition": node["partition"],
                "device": "cpu",
                "state": "ready",
                "since": None,
            }
            for node in document["nodes"]
        ],
        "runs": [make_summary(document)],
    }
    return status | replaced


def _compute(metric: str, number: int, node: int) -> float:
    """Return a plausible value; nodes differ a little, and so does each round."""
    ripple = 0.03 * math.sin(number * 1.7 + node * 2.3) + 0.02 * math.sin(node * 5.1)
    progress = math.exp(-number / 12)
    return 0.12 + 2.1 * progress + ripple if metric == "loss" else 0.97 - 0.8 * progress + ripple / 2


def _make_curves(numbers: list[int], nodes: int) -> dict[str, Any]:
    each = [2.5] * len(numbers)
    return {
        "rounds": numbers,
        "time": [write_time(2.5 * number) for number in numbers],
        "evaluate": {name: [_compute(name, number, 0) for number in numbers] for name in _METRICS},
        "train": {name: [_compute(name, number, 1) for number in numbers] for name in _METRICS},
        "learning_rate": [0.05 * 0.99**number for number in numbers],
        "epsilon": [None] * len(numbers),
        "seconds": {
            "train": [1.8 + 0.1 * math.sin(number) for number in numbers],
            "aggregate": [0.06] * len(numbers),
            "evaluate": [0.5] * len(numbers),
            "checkpoint": [0.01] * len(numbers),
            "total": each,
        },
        "nodes": [nodes] * len(numbers),
        "bytes_up": [872_722 * nodes] * len(numbers),
        "bytes_down": [1_745_387 * nodes] * len(numbers),
    }


def _make_node(name: str, index: int, rounds: int) -> dict[str, Any]:
    return {
        "name": name,
        "site": name.partition(".")[0],
        "partition": index,
        "rounds": rounds,
        "examples": 600 - index,
        "examples_total": (600 - index) * rounds,
        "seconds": 1.5 + 0.01 * index,
        "examples_per_second": 1200.0 / (1.5 + 0.01 * index),
        "bytes_up": 872_722 * rounds,
        "bytes_down": 1_745_387 * rounds,
        "rejected": 0,
        "missing": 0,
        "left_out": 0,
        "metrics": {metric: _compute(metric, rounds, index) for metric in _METRICS},
        "train": {metric: _compute(metric, rounds, index + 1) for metric in _METRICS},
    }


def _make_sites(names: list[str], rounds: int) -> list[dict[str, Any]]:
    sites = sorted({name.partition(".")[0] for name in names})
    numbers = {site: sum(name.startswith(f"{site}.") for name in names) for site in sites}
    return [
        {
            "site": site,
            "nodes": number,
            "rounds": rounds,
            "examples": 600 * number * rounds,
            "bytes_up": 872_722 * number * rounds,
            "bytes_down": 1_745_387 * number * rounds,
            "rejected": 0,
        }
        for site, number in numbers.items()
    ]


def _make_node_curves(numbers: list[int], names: list[str]) -> dict[str, Any]:
    every = max(1, math.ceil(len(numbers) * len(names) * len(_METRICS) / _MOST_VALUES))
    sampled = numbers[::every]
    curves = {
        name: {metric: [_compute(metric, number, index) for number in sampled] for metric in _METRICS}
        for index, name in enumerate(names)
    }
    return {"rounds": sampled, "nodes": curves}
