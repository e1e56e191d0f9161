"""Ports for programs that tests start, and stop, and start again."""

import itertools
import os
import socket

# Below those that the kernel hands out by itself, which another process could get while a program is down.
# Each worker of pytest-xdist has a range of its own. A process begins anywhere in it, since runs of the tests
# may follow each other.
_FIRST = 10_000
_PER_WORKER = 1_000
_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw9").removeprefix("gw")) % 20
_OFFSETS = itertools.count(os.getpid())


def find_free_port() -> int:
    """Return a port of 127.0.0.1 on which nothing listens, and which no other worker uses."""
    for offset in itertools.islice(_OFFSETS, _PER_WORKER):
        port = _FIRST + _WORKER * _PER_WORKER + offset % _PER_WORKER
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise OSError("no port is free")
