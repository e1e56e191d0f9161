"""The lower bound for any engine on this machine: a round's bytes over plain TCP, and the weighted average.

The bytes travel as in a round: the model goes to two processes at once and comes back from each, then goes to
each again for the evaluation, which is answered with one byte. They travel in pieces of 1 MiB between
existing buffers; nothing is checked or decoded.
"""

import socket
import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np

from bench.flower_app.null_app.model import make_arrays, model_bytes
from bench.flower_app.null_app.rounds import NODES
from bench.processes import Children

PIECE_BYTES = 1024 * 1024


@dataclass(frozen=True)
class Floor:
    """Median seconds of the two parts of a round that remain if the engine costs nothing."""

    size: str
    transfer_s: float
    average_s: float
    nodes: int = NODES

    @property
    def total_s(self) -> float:
        """The lower bound for a whole round."""
        return self.transfer_s + self.average_s


def measure(size: str, rounds: int, nodes: int = NODES) -> Floor:
    """Time both parts over some rounds, after one that does not count."""
    transfer_s = _time_transfer(model_bytes(size), rounds, nodes)
    return Floor(size, transfer_s, _time_average(size, rounds, nodes), nodes)


def _time_transfer(count: int, rounds: int, nodes: int) -> float:
    with Children() as children, ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        listener.settimeout(60)
        port = listener.getsockname()[1]
        for node in range(nodes):
            children.start_module(f"node-{node}", __name__, str(port), str(count), str(rounds + 1))
        links = [stack.enter_context(listener.accept()[0]) for _ in range(nodes)]
        pool = stack.enter_context(ThreadPoolExecutor(nodes))
        model, replies = memoryview(bytes(count)), [memoryview(bytearray(count)) for _ in links]

        def play_round() -> None:
            # `list` waits for both nodes: training ends before evaluation begins.
            list(pool.map(lambda link, reply: _exchange(link, model, reply), links, replies))
            list(pool.map(lambda link: _exchange(link, model, memoryview(bytearray(1))), links))

        return _time(play_round, rounds)


def _time_average(size: str, rounds: int, nodes: int) -> float:
    updates = [make_arrays(size) for _ in range(nodes)]
    weights = [np.float32((1 + node) / 3) for node in range(nodes)]

    def average() -> None:
        for first, *others in zip(*updates, strict=True):
            total = first * weights[0]
            for other, weight in zip(others, weights[1:], strict=True):
                total += other * weight

    return _time(average, rounds)


def _time(step: Callable[[], None], rounds: int) -> float:
    step()
    seconds = []
    for _ in range(rounds):
        started = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)


def _exchange(link: socket.socket, outgoing: memoryview, incoming: memoryview) -> None:
    send(link, outgoing)
    receive(link, incoming)


def send(link: socket.socket, data: memoryview) -> None:
    """Send bytes in pieces."""
    for start in range(0, len(data), PIECE_BYTES):
        link.sendall(data[start : start + PIECE_BYTES])


def receive(link: socket.socket, buffer: memoryview) -> None:
    """Receive as many bytes as the buffer holds."""
    while len(buffer):
        count = link.recv_into(buffer[:PIECE_BYTES])
        if not count:
            raise ConnectionError("the other process closed the connection")
        buffer = buffer[count:]


def serve_node(port: int, count: int, rounds: int) -> None:
    """Act as a node: return the model, then reply to its evaluation."""
    with socket.create_connection(("127.0.0.1", port)) as link:
        model = memoryview(bytearray(count))
        for _ in range(rounds):
            receive(link, model)
            send(link, model)
            receive(link, model)
            send(link, model[:1])


if __name__ == "__main__":
    serve_node(*map(int, sys.argv[1:]))
