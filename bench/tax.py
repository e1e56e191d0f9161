"""The federation tax: fedmx's own programs on MNIST, compared with the same steps without a server.

Without a server, two processes train and evaluate on the nodes' partitions, one step at a time: a step takes
as long as the slower process, as in the federation.
"""

import json
import socket
import statistics
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from bench.engines import direct_link
from bench.flower_app.null_app.rounds import NODES
from bench.processes import Children, MeasurementError, free_port, wait_until
from fedmx.pki.authority import LOCAL_SITE

ROUNDS, REPEATS = 3, 3
_LIMIT_S, _START_S = 180.0, 60.0
_NODE = {"CLIENT_THREADS": "1"}
STEPS = ("train", "evaluate")


@dataclass(frozen=True)
class Tax:
    """Seconds of each round of each repeat, with and without federation."""

    federated_s: list[list[float]]
    alone_s: list[list[float]]

    @property
    def ratios(self) -> list[float]:
        """The ratio of the seconds with federation to those without, by repeat."""
        return [sum(f) / sum(a) for f, a in zip(self.federated_s, self.alone_s, strict=True)]

    @property
    def ratio(self) -> float:
        """The median ratio."""
        return statistics.median(self.ratios)


def measure() -> Tax:
    """Run both alternately, so that a change of the machine's speed affects both."""
    tax = Tax([], [])
    for _ in range(REPEATS):
        tax.alone_s.append(_measure_alone())
        tax.federated_s.append(_measure_federated())
    return tax


def _measure_federated() -> list[float]:
    """Run the server and the clients, and read the rounds' seconds from the run's history."""
    with Children() as children:
        address = f"127.0.0.1:{free_port()}"
        runs = children.folder / "runs"
        settings = {"NUM_ROUNDS": str(ROUNDS), "NUM_PARTITIONS": str(NODES), "RUNS_DIR": str(runs)}
        pki = children.folder / "pki"
        direct_link.create_certificates(pki)
        of_server = {"LISTEN_ADDRESS": address, "CERTS_DIR": str(pki / "server")}
        server = children.start_module("server", "server", env={**settings, **of_server})
        of_clients = {"SERVER_ADDRESS": address, "CERTS_DIR": str(pki / "sites" / LOCAL_SITE)}
        for node in range(NODES):
            children.start_module(f"client-{node}", "client", env={**of_clients, **_NODE})
        wait_until(lambda: server.poll() is not None, _LIMIT_S, "the federation")
        if server.returncode != 0:
            raise MeasurementError(f"python -m server: exit {server.returncode}: {children.tail('server')}")
        return _read_seconds(runs / "latest" / "history.jsonl")


def _read_seconds(history: Path) -> list[float]:
    return [json.loads(line)["seconds"]["total"] for line in history.read_text().splitlines()]


def _measure_alone() -> list[float]:
    """Run each step in two processes at once, waiting for the slower one."""
    with Children() as children, ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        listener.settimeout(_START_S)
        port = str(listener.getsockname()[1])
        for node in range(NODES):
            children.start_module(f"alone-{node}", "bench.alone", port, str(node), env=_NODE)
        links = [stack.enter_context(listener.accept()[0]) for _ in range(NODES)]
        workers = [stack.enter_context(link.makefile("rw")) for link in links]
        _await(children, workers)
        seconds = []
        for number in range(1, ROUNDS + 1):
            started = time.perf_counter()
            for step in STEPS:
                for worker in workers:
                    print(step, number, file=worker, flush=True)
                _await(children, workers)
            seconds.append(time.perf_counter() - started)
        return seconds


def _await(children: Children, workers: Sequence[TextIO]) -> None:
    for node, worker in enumerate(workers):
        if not worker.readline():
            raise MeasurementError(f"training without a server failed: {children.tail(f'alone-{node}')}")
