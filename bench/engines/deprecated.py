"""Flower's deprecated gRPC server, `start_server` and `start_client`, with the FedAvg of that API.

The node is a `Client` that returns the encoded parameters as they came, like the null ClientApp. A
`NumPyClient` would decode and encode them, which would make this engine look slower than it is.
"""

import logging
import sys
from pathlib import Path

from flwr.common import Code, EvaluateIns, EvaluateRes, FitIns, FitRes, Scalar, Status, ndarrays_to_parameters
from flwr.compat.client.app import start_client
from flwr.compat.client.client import Client
from flwr.compat.server.app import start_server
from flwr.server import ServerConfig, SimpleClientManager
from flwr.server.strategy import FedAvg

from bench.engines.pair import measure_pair
from bench.flower_app.null_app.model import make_arrays, make_metrics
from bench.flower_app.null_app.rounds import NODES
from bench.flower_app.null_app.stopwatch import Stopwatch
from bench.outcome import Job, Outcome

MAX_MESSAGE_BYTES = 1 << 30
_OK = Status(Code.OK, "")
Metrics = dict[str, Scalar]


def measure(job: Job) -> Outcome:
    """Run a server and two nodes, and read the stopwatch."""
    return measure_pair(job, __name__)


class NullClient(Client):
    """A node of the old API that computes nothing."""

    def __init__(self, node: int) -> None:
        self._metrics: Metrics = dict(make_metrics(node))
        self._examples = int(make_metrics(node)["num-examples"])

    def fit(self, ins: FitIns) -> FitRes:
        """Return the parameters as they came."""
        return FitRes(_OK, ins.parameters, self._examples, self._metrics)

    def evaluate(self, ins: EvaluateIns) -> EvaluateRes:  # noqa: ARG002 - the old API's signature
        """Return metrics."""
        return EvaluateRes(_OK, float(self._metrics["loss"]), self._examples, self._metrics)


def serve(port: int, size: str, rounds: int, path: Path) -> None:
    """Run the rounds; the old server aggregates the evaluation's metrics at the end of each."""
    nodes = SimpleClientManager()
    with Stopwatch(path) as stopwatch:

        def average(results: list[tuple[int, Metrics]]) -> Metrics:
            total = sum(examples for examples, _ in results)
            keys = ("loss", "accuracy")
            return {key: sum(n * float(metrics[key]) for n, metrics in results) / total for key in keys}

        def mark_and_average(results: list[tuple[int, Metrics]]) -> Metrics:
            metrics = average(results)
            stopwatch.mark()
            return metrics

        def mark_start(server_round: int, _arrays: object, _config: Metrics) -> None:
            if server_round == 0:
                nodes.wait_for(NODES)
                stopwatch.mark()

        strategy = FedAvg(
            min_fit_clients=NODES,
            min_evaluate_clients=NODES,
            min_available_clients=NODES,
            initial_parameters=ndarrays_to_parameters(list(make_arrays(size))),
            evaluate_fn=mark_start,
            fit_metrics_aggregation_fn=average,
            evaluate_metrics_aggregation_fn=mark_and_average,
        )
        start_server(
            server_address=f"127.0.0.1:{port}",
            config=ServerConfig(num_rounds=rounds),
            strategy=strategy,
            client_manager=nodes,
            grpc_max_message_length=MAX_MESSAGE_BYTES,
        )


def main(role: str, port: str, *rest: str) -> None:
    """Act as the server or a node."""
    logging.getLogger("flwr").setLevel(logging.WARNING)
    if role == "server":
        size, rounds, path = rest
        serve(int(port), size, int(rounds), Path(path))
    else:
        start_client(
            server_address=f"127.0.0.1:{port}",
            client=NullClient(int(rest[0])),
            grpc_max_message_length=MAX_MESSAGE_BYTES,
            insecure=True,
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
