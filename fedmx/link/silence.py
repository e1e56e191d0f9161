"""Detects that the other end of a stream is gone, because nothing arrives from it.

Each end sends something at least every SIGN_AFTER_S seconds, and considers the other gone after LIMIT_S
seconds without a single byte. gRPC's keepalive cannot decide this: it waits for the answer to a ping, and on
a slow line that answer queues behind all data that is already on its way. So its timeout is off
(`channel.py`), and any byte counts, whatever it belongs to: the end that receives a model keeps receiving
bytes, and the end that sends one receives the other's signs of life, which nothing delays.
"""

import contextlib
import math
import os
import socket
import struct
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import unquote

from fedmx.values import Address

SIGN_AFTER_S = 10.0
LIMIT_S = 30.0
_CHECK_PERIOD_S = 1.0

# Linux's struct tcp_info: tcpi_last_data_recv, in milliseconds, follows 8 u8 and 11 u32.
_LAST_ARRIVAL = struct.Struct("=52xI")

Ages = Mapping[tuple[str, int], float]
"""Seconds since bytes arrived, by the host and port of the other end of each connection."""


class Silence:
    """How long nothing has arrived on a stream.

    The seconds are those between checks, not a clock's: a process that was suspended first sees what arrived
    meanwhile, and only then decides that the other end is gone.

    Args:
        find: returns the age of the newest bytes on the stream's connection. Frames alone would not do: on a
            slow line a frame of 1 MiB takes longer than the limit, and a program in a long call of C sends no
            sign of life, while its gRPC answers pings.
    """

    def __init__(self, find: Callable[[Ages], float]) -> None:
        self._find = find
        self._seconds = 0.0

    def end(self) -> None:
        """Note that something has arrived."""
        self._seconds = 0.0

    def check(self, passed_s: float, measure: Callable[[], Ages]) -> bool:
        """Return whether the other end is gone.

        Args:
            passed_s: seconds since the previous check.
            measure: asks the kernel; called only if no frame arrived within the limit.
        """
        self._seconds += passed_s
        if self._seconds >= LIMIT_S:
            self._seconds = min(self._seconds, self._find(measure()))
        return self._seconds >= LIMIT_S


class Watchdog:
    """Ends a stream on which nothing arrives, from a thread of its own.

    Args:
        silence: of the stream.
        end_stream: ends the stream.

    Attributes:
        has_fired: whether the stream was ended here.
    """

    def __init__(self, silence: Silence, end_stream: Callable[[], object]) -> None:
        self.has_fired = False
        self._silence = silence
        self._end_stream = end_stream
        self._is_over = threading.Event()

    def start(self) -> None:
        """Start the checks."""
        threading.Thread(target=self._watch, name="silence", daemon=True).start()

    def stop(self) -> None:
        """Stop the checks."""
        self._is_over.set()

    def _watch(self) -> None:
        while not self._is_over.wait(_CHECK_PERIOD_S):
            if self._silence.check(_CHECK_PERIOD_S, measure):
                self.has_fired = True
                self._end_stream()
                return


def parse_peer(name: str) -> tuple[str, int]:
    """Parse gRPC's name of a peer, such as `ipv6:%5B::1%5D:50000`; the port is 0 if it has none."""
    host, _, port = unquote(name.partition(":")[2]).rpartition(":")
    return host.strip("[]"), int(port) if port.isdecimal() else 0


def find_age(ages: Ages, address: Address) -> float:
    """Return the age of the newest bytes of the connections to an address; infinity if there is none.

    A connection is known by the peer's numbers. Where the host's name leads to none of them any more, as
    behind a balancer that changes its addresses, the port alone decides.
    """
    try:
        found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        found = []
    peers = {(str(target[0]).removeprefix("::ffff:"), address.port) for *_, target in found}
    of_host = [age for peer, age in ages.items() if peer in peers]
    of_port = [age for (_, port), age in ages.items() if port == address.port]
    return min(of_host or of_port, default=math.inf)


def measure() -> Ages:
    """Ask the kernel about all connections of this process; empty on other systems than Linux."""
    try:
        descriptors = [int(entry.name) for entry in Path("/proc/self/fd").iterdir()]
    except OSError:
        return {}
    found: dict[tuple[str, int], float] = {}
    for descriptor in descriptors:
        with contextlib.suppress(OSError), _copy(descriptor) as connection:
            # These raise if the descriptor is not a TCP connection, or no longer one.
            address = connection.getpeername()
            info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _LAST_ARRIVAL.size)
            peer = address[0].removeprefix("::ffff:"), address[1]
            found[peer] = min(found.get(peer, math.inf), _LAST_ARRIVAL.unpack(info)[0] / 1000.0)
    return found


def _copy(descriptor: int) -> socket.socket:
    """Duplicate a descriptor as a socket: gRPC owns the original and may close it at any time."""
    copy = os.dup(descriptor)
    try:
        return socket.socket(fileno=copy)
    except OSError:
        # It is not a socket.
        os.close(copy)
        raise
