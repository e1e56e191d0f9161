"""Flower's FedAvg, with the steps of its `start` and a stopwatch at the end of each round.

`start` itself is not called: it keeps the initial model, and the replies of a round until the next replies
arrive. Those three models are memory of the strategy, not of the engine.
"""

import time
from pathlib import Path

from flwr.app import ArrayRecord, ConfigRecord
from flwr.serverapp import Grid
from flwr.serverapp.strategy import FedAvg

from .model import make_arrays
from .stopwatch import Stopwatch

NODES = 2
# The default of Flower's `start`.
_TIMEOUT_S = 3600.0


def run_rounds(grid: Grid, size: str, rounds: int, marks: Path) -> None:
    """Train and evaluate on two nodes.

    Args:
        grid: the engine.
        size: `small` or `large`.
        rounds: number of rounds, with the warm-up.
        marks: file for the stopwatch's lines.
    """
    with Stopwatch(marks) as stopwatch:
        while len(list(grid.get_node_ids())) < NODES:
            time.sleep(0.05)
        strategy = FedAvg(min_train_nodes=NODES, min_evaluate_nodes=NODES, min_available_nodes=NODES)
        arrays = ArrayRecord(make_arrays(size))
        stopwatch.mark()
        for number in range(1, rounds + 1):
            arrays = _train(strategy, grid, number, arrays, stopwatch)
            _evaluate(strategy, grid, number, arrays)
            stopwatch.note_peak("evaluate")
            stopwatch.mark()


def _train(
    strategy: FedAvg, grid: Grid, number: int, arrays: ArrayRecord, stopwatch: Stopwatch
) -> ArrayRecord:
    messages = strategy.configure_train(number, arrays, ConfigRecord(), grid)
    replies = grid.send_and_receive(messages, timeout=_TIMEOUT_S)
    stopwatch.note_peak("send and receive")
    aggregated, metrics = strategy.aggregate_train(number, replies)
    del messages, replies
    stopwatch.note_peak("aggregate")
    if aggregated is None or metrics is None:
        raise RuntimeError(f"round {number}: no update")
    return aggregated


def _evaluate(strategy: FedAvg, grid: Grid, number: int, arrays: ArrayRecord) -> None:
    messages = strategy.configure_evaluate(number, arrays, ConfigRecord(), grid)
    replies = grid.send_and_receive(messages, timeout=_TIMEOUT_S)
    if strategy.aggregate_evaluate(number, replies) is None:
        raise RuntimeError(f"round {number}: no evaluation")
