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

    @property
    def total_s(self) -> float:
        """The lower bound for a whole round."""
        return self.transfer_s + self.average_s


def measure(size: str, rounds: int) -> Floor:
    """Time both parts over some rounds, after one that does not count."""
    return Floor(size, _time_transfer(model_bytes(size), rounds), _time_average(size, rounds))


def _time_transfer(count: int, rounds: int) -> float:
    with Children() as children, ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        listener.settimeout(60)
        port = listener.getsockname()[1]
        for node in range(NODES):
            children.start_module(f"node-{node}", __name__, str(port), str(count), str(rounds + 1))
        links = [stack.enter_context(listener.accept()[0]) for _ in range(NODES)]
        pool = stack.enter_context(ThreadPoolExecutor(NODES))
        model, replies = memoryview(bytes(count)), [memoryview(bytearray(count)) for _ in links]

        def play_round() -> None:
            # `list` waits for both nodes: training ends before evaluation begins.
            list(pool.map(lambda link, reply: _exchange(link, model, reply), links, replies))
            list(pool.map(lambda link: _exchange(link, model, memoryview(bytearray(1))), links))

        return _time(play_round, rounds)


def _time_average(size: str, rounds: int) -> float:
    updates = [make_arrays(size) for _ in range(NODES)]
    weights = [np.float32(1 / 3), np.float32(2 / 3)]

    def average() -> None:
        for first, second in zip(*updates, strict=True):
            total = first * weights[0]
            total += second * weights[1]

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
    _send(link, outgoing)
    _receive(link, incoming)


def _send(link: socket.socket, data: memoryview) -> None:
    for start in range(0, len(data), PIECE_BYTES):
        link.sendall(data[start : start + PIECE_BYTES])


def _receive(link: socket.socket, buffer: memoryview) -> None:
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
            _receive(link, model)
            _send(link, model)
            _receive(link, model)
            _send(link, model[:1])


if __name__ == "__main__":
    serve_node(*map(int, sys.argv[1:]))
