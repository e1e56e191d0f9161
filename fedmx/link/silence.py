"""Whether the other end of a stream is gone: each sends something every few seconds, and looks what arrives.

gRPC's keepalive goes by the answer to a ping, which on a slow line comes behind all that is on its way
already. So its timeout is off, and what counts is whether any byte arrives, whatever it belongs to. The end
that receives a model reads bytes all the time; the one that sends it hears the other's signs of life, which
nothing delays.
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

SIGN_AFTER_S = 10.0  # without anything to send
LIMIT_S = 30.0
_LOOK_S = 1.0

# Linux's struct tcp_info: tcpi_last_data_recv, milliseconds, stands behind 8 u8 and 11 u32.
_LAST_ARRIVAL = struct.Struct("=52xI")

Ages = Mapping[tuple[str, int], float]
"""How many seconds ago bytes arrived, by the host and port of the other end of a connection."""


class Silence:
    """How long nothing has arrived on a stream.

    It is counted in looks, not by a clock: a process that was stopped for a while looks at what came
    meanwhile before it takes the other end for gone.

    Args:
        find: picks the age of the newest bytes on the stream's connection. On a slow line a frame of 1 MiB
            takes longer than the limit, and a program in a long call of C sends no sign of life, while its
            gRPC answers pings.
    """

    def __init__(self, find: Callable[[Ages], float]) -> None:
        self._find = find
        self._seconds = 0.0

    def end(self) -> None:
        """Note that something has arrived."""
        self._seconds = 0.0

    def look(self, passed_s: float, measure: Callable[[], Ages]) -> bool:
        """Return whether the other end is gone.

        Args:
            passed_s: seconds since the look before.
            measure: asks the kernel; called only where no frame tells.
        """
        self._seconds += passed_s
        if self._seconds >= LIMIT_S:
            self._seconds = min(self._seconds, self._find(measure()))
        return self._seconds >= LIMIT_S


class Watchdog:
    """Ends a stream on which nothing arrives, from a thread of its own.

    Args:
        silence: of the stream.
        bark: ends it.

    Attributes:
        has_barked: whether it did.
    """

    def __init__(self, silence: Silence, bark: Callable[[], object]) -> None:
        self.has_barked = False
        self._silence = silence
        self._bark = bark
        self._is_over = threading.Event()

    def start(self) -> None:
        """Begin to look."""
        threading.Thread(target=self._look, name="silence", daemon=True).start()

    def stop(self) -> None:
        """Look no more."""
        self._is_over.set()

    def _look(self) -> None:
        while not self._is_over.wait(_LOOK_S):
            if self._silence.look(_LOOK_S, measure):
                self.has_barked = True
                self._bark()
                return


def parse_peer(name: str) -> tuple[str, int]:
    """Parse a peer's name in gRPC, such as `ipv6:%5B::1%5D:50000`; port 0 where it has none."""
    host, _, port = unquote(name.partition(":")[2]).rpartition(":")
    return host.strip("[]"), int(port) if port.isdecimal() else 0


def measure() -> Ages:
    """Ask the kernel about all connections of this process; about none where it is not Linux's."""
    try:
        descriptors = [int(entry.name) for entry in Path("/proc/self/fd").iterdir()]
    except OSError:
        return {}
    found: dict[tuple[str, int], float] = {}
    for descriptor in descriptors:
        with contextlib.suppress(OSError), _copy(descriptor) as connection:
            # These raise where it is no connection of TCP, or none any more.
            address = connection.getpeername()
            info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _LAST_ARRIVAL.size)
            peer = address[0].removeprefix("::ffff:"), address[1]
            found[peer] = min(found.get(peer, math.inf), _LAST_ARRIVAL.unpack(info)[0] / 1000.0)
    return found


def _copy(descriptor: int) -> socket.socket:
    """Return a socket of its own for a descriptor that belongs to gRPC, which may close it at any time."""
    copy = os.dup(descriptor)
    try:
        return socket.socket(fileno=copy)
    except OSError:  # not a socket
        os.close(copy)
        raise
