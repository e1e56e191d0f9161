"""Detects that the other end of a stream is gone, because nothing arrives from it.

Each end sends something when it has sent nothing for SIGN_AFTER_S seconds, the server up to two seconds
later (`watch.py`), and considers the other gone after LIMIT_S seconds without a single byte. gRPC's keepalive
cannot decide this: it waits for the answer to a ping, and on a slow line that answer queues behind all data
that is already on its way. So its timeout is off (`channel.py`), and any byte counts, whatever it belongs to:
the end that receives a model keeps receiving bytes, and the end that sends one receives the other's signs of
life, which nothing delays.
"""

import math
import socket
import threading
from collections.abc import Callable

from fedmx.link import connections
from fedmx.link.connections import Connections, Peer
from fedmx.values import Address

SIGN_AFTER_S = 10.0
LIMIT_S = 30.0
_CHECK_PERIOD_S = 1.0


class Silence:
    """How long nothing has arrived on a stream.

    The seconds are those between checks, not a clock's: a process that was suspended first sees what arrived
    meanwhile, and only then decides that the other end is gone.

    Args:
        find: returns the age of the newest bytes on the stream's connection. Frames alone would not do: on a
            slow line a frame of 1 MiB takes longer than the limit, and a program in a long call of C sends no
            sign of life, while its gRPC answers pings.
    """

    def __init__(self, find: Callable[[Connections], float]) -> None:
        self._find = find
        self._seconds = 0.0

    def end(self) -> None:
        """Note that something has arrived."""
        self._seconds = 0.0

    def check(self, passed_s: float, measure: Callable[[], Connections]) -> bool:
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
            if self._silence.check(_CHECK_PERIOD_S, connections.measure):
                self.has_fired = True
                self._end_stream()
                return


def find_age(found: Connections, peer: Peer) -> float:
    """Return the age of the newest bytes from a peer; infinity if there is no connection to it."""
    return found[peer].age_s if peer in found else math.inf


def find_age_of_host(found: Connections, address: Address) -> float:
    """Return the age of the newest bytes of the connections to an address; infinity if there is none.

    A connection is known by the peer's numbers. Where the host's name leads to none of them any more, as
    behind a balancer that changes its addresses, the port alone decides.
    """
    try:
        targets = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        targets = []
    peers = {(str(target[0]).removeprefix("::ffff:"), address.port) for *_, target in targets}
    of_host = [one.age_s for peer, one in found.items() if peer in peers]
    of_port = [one.age_s for (_, port), one in found.items() if port == address.port]
    return min(of_host or of_port, default=math.inf)
