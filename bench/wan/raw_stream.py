"""One plain TCP stream through a line, in both directions in turn: what any engine can reach at most."""

import socket
import statistics
import sys
import time

from bench.floor import receive, send
from bench.processes import Children
from bench.wan.crossing import Crossing
from bench.wan.proxy import lay_line


def measure(count: int, repeats: int) -> Crossing:
    """Send `count` bytes down and up, some times; return the median seconds of each."""
    with Children() as children, socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(60)
        port = lay_line(children, listener.getsockname()[1])
        children.start_module("node", __name__, str(port), str(count), str(repeats))
        link, _ = listener.accept()
        model = memoryview(bytes(count))
        downs, ups = [], []
        for _ in range(repeats):
            began = time.perf_counter()
            send(link, model)
            # The node's clock is this machine's.
            arrived, left = _read_times(link)
            receive(link, memoryview(bytearray(count)))
            downs.append(arrived - began)
            ups.append(time.perf_counter() - left)
    return Crossing("raw TCP", count, statistics.median(downs), statistics.median(ups))


def _read_times(link: socket.socket) -> tuple[float, float]:
    text = bytearray(64)
    receive(link, memoryview(text))
    arrived, left = text.decode().split()
    return float(arrived), float(left)


def serve_node(port: int, count: int, repeats: int) -> None:
    """Act as the node: read the model, then send the two times and the model."""
    with socket.create_connection(("127.0.0.1", port)) as link:
        model = memoryview(bytearray(count))
        for _ in range(repeats):
            receive(link, model)
            now = time.perf_counter()
            send(link, memoryview(f"{now} {now}".ljust(64).encode()))
            send(link, model)


if __name__ == "__main__":
    serve_node(*map(int, sys.argv[1:]))
