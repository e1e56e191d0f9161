"""Flower's deprecated gRPC server, `start_server` and `start_client`, with the FedAvg of that API.

The node is a `Client` that changes one value of each encoded array, like the null ClientApp. A `NumPyClient`
would decode and encode them, which would make this engine look slower than it is.
"""

import logging
import sys
import time
from pathlib import Path
from typing import Any

from flwr.common import (
    Code,
    EvaluateIns,
    EvaluateRes,
    FitIns,
    FitRes,
    Parameters,
    Scalar,
    Status,
    ndarrays_to_parameters,
)
from flwr.compat.client.app import start_client
from flwr.compat.client.client import Client
from flwr.compat.server.app import start_server
from flwr.server import ServerConfig, SimpleClientManager
from flwr.server.strategy import FedAvg

from bench.engines.null_node import BEGAN, ENDED
from bench.engines.pair import Program
from bench.flower_app.null_app.model import change_file, make_arrays, make_metrics
from bench.flower_app.null_app.stopwatch import Stopwatch

MAX_MESSAGE_BYTES = 1 << 30
_OK = Status(Code.OK, "")
Metrics = dict[str, Scalar]


def programs(**more: object) -> Program:
    """Return the engine's programs; arguments are further fields of `Program`."""
    return Program(__name__, **more)  # type: ignore[arg-type]


class NullClient(Client):
    """A node of the old API that computes nothing."""

    def __init__(self, node: int) -> None:
        self._node = node
        self._metrics: Metrics = dict(make_metrics(node))
        self._examples = int(make_metrics(node)["num-examples"])

    def fit(self, ins: FitIns) -> FitRes:
        """Return the parameters, each array with another first value."""
        given = ins.parameters
        changed = Parameters([change_file(file, self._node) for file in given.tensors], given.tensor_type)
        return FitRes(_OK, changed, self._examples, {**self._metrics, ENDED: time.perf_counter()})

    def evaluate(self, ins: EvaluateIns) -> EvaluateRes:  # noqa: ARG002 - the old API's signature
        """Return metrics."""
        metrics: Metrics = {**self._metrics, BEGAN: time.perf_counter()}
        return EvaluateRes(_OK, float(self._metrics["loss"]), self._examples, metrics)


class TimedFedAvg(FedAvg):
    """FedAvg, with a stopwatch at the steps of a round.

    Args:
        stopwatch: notes when each step begins.
        options: of FedAvg.
    """

    def __init__(self, stopwatch: Stopwatch, **options: Any) -> None:
        super().__init__(**options)
        self._stopwatch = stopwatch

    def configure_fit(self, *arguments: Any, **named: Any) -> Any:
        """Begin a round."""
        self._stopwatch.note_step("evaluate", "train")
        return super().configure_fit(*arguments, **named)

    def aggregate_fit(self, server_round: int, results: Any, failures: Any) -> Any:
        """Aggregate updates."""
        self._stopwatch.note_step("train", "aggregate")
        self._stopwatch.times[ENDED] = results[0][1].metrics[ENDED]
        return super().aggregate_fit(server_round, results, failures)

    def configure_evaluate(self, *arguments: Any, **named: Any) -> Any:
        """Begin the evaluation."""
        self._stopwatch.note_step("aggregate", "evaluate")
        return super().configure_evaluate(*arguments, **named)

    def aggregate_evaluate(self, server_round: int, results: Any, failures: Any) -> Any:
        """Average the metrics and end the round."""
        self._stopwatch.times[BEGAN] = results[0][1].metrics[BEGAN]
        averaged = super().aggregate_evaluate(server_round, results, failures)
        self._stopwatch.mark()
        return averaged


def average(results: list[tuple[int, Metrics]]) -> Metrics:
    """Average the metrics of nodes, weighted by their examples."""
    total = sum(examples for examples, _ in results)
    keys = ("loss", "accuracy")
    return {key: sum(n * float(metrics[key]) for n, metrics in results) / total for key in keys}


def serve(port: str, size: str, rounds: str, nodes: str, marks: str) -> None:
    """Run the rounds; the old server aggregates the evaluation's metrics at the end of each."""
    manager, count = SimpleClientManager(), int(nodes)
    with Stopwatch(Path(marks)) as stopwatch:

        def mark_start(server_round: int, _arrays: object, _config: Metrics) -> None:
            if server_round == 0:
                manager.wait_for(count)
                stopwatch.mark()

        strategy = TimedFedAvg(
            stopwatch,
            min_fit_clients=count,
            min_evaluate_clients=count,
            min_available_clients=count,
            initial_parameters=ndarrays_to_parameters(list(make_arrays(size))),
            evaluate_fn=mark_start,
            fit_metrics_aggregation_fn=average,
            evaluate_metrics_aggregation_fn=average,
        )
        start_server(
            server_address=f"127.0.0.1:{port}",
            config=ServerConfig(num_rounds=int(rounds)),
            strategy=strategy,
            client_manager=manager,
            grpc_max_message_length=MAX_MESSAGE_BYTES,
        )


def join(port: str, size: str, first: str, count: str) -> None:
    """Act as one node."""
    del size, count
    start_client(
        server_address=f"127.0.0.1:{port}",
        client=NullClient(int(first)),
        grpc_max_message_length=MAX_MESSAGE_BYTES,
        insecure=True,
    )


def main(role: str, *arguments: str) -> None:
    """Act as the server or a node."""
    logging.getLogger("flwr").setLevel(logging.WARNING)
    (serve if role == "server" else join)(*arguments)


if __name__ == "__main__":
    main(*sys.argv[1:])
