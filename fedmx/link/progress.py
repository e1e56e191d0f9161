"""Detects a transfer that stalls: a request or a reply is on its way, and no bytes move.

Progress is counted in bytes of the kernel, not in frames: on a slow line, a frame of 1 MiB takes minutes.
Signs of life and gRPC's pings are bytes too, but far fewer than those of any line that is of use.
"""

from collections.abc import Callable, Collection

from fedmx.link.connections import Connections, Peer
from fedmx.link.request import Request
from fedmx.link.travel import Where

_LEAST_BYTES_PER_S = 512


class Progress:
    """The transfers on one stream.

    Its seconds are those between checks, as in `Silence`: a process that was suspended first sees what moved
    meanwhile.

    Args:
        peer: the other end of the stream's connection.
        limit_s: how long a transfer may make no progress (LINK_STALL_TIMEOUT).

    Attributes:
        limit_s: the same.
        is_held: whether this end does not read the stream for now. It is no stall then that nothing arrives.
    """

    def __init__(self, peer: Peer, limit_s: float) -> None:
        self.limit_s = limit_s
        self.is_held = False
        self._peer = peer
        self._down = _Direction()
        self._up = _Direction()

    def check(
        self,
        requests: Collection[Request],
        passed_s: float,
        measure: Callable[[], Connections],
        *,
        is_writing: bool = False,
    ) -> bool:
        """Return whether a transfer stalls; note the requests that have left this machine.

        Args:
            requests: those of the stream's node.
            passed_s: seconds since the previous check.
            measure: asks the kernel; called only if bytes are on their way.
            is_writing: whether a frame is being written.
        """
        connection = measure().get(self._peer) if any(one.travel.is_on for one in requests) else None
        for request in requests:
            if request.is_written and (connection is None or not connection.unsent):
                request.rest()
        # A request that waits for its turn to be written does not stall.
        is_down = any(one.travel.where is Where.DOWN and one.bytes_sent for one in requests)
        # Unless the rest of one that is no longer awaited is in its way.
        is_down = is_down or (is_writing and connection is not None)
        is_up = any(one.travel.where is Where.UP for one in requests) and not self.is_held
        # Systems other than Linux have no such counters: frames are counted instead.
        sent = connection.acknowledged if connection else sum(one.bytes_sent for one in requests)
        received = connection.received if connection else sum(one.reply_arrived for one in requests)
        down_s = self._down.count(sent, passed_s, is_on=is_down)
        up_s = self._up.count(received, passed_s, is_on=is_up)
        return max(down_s, up_s) >= self.limit_s


class _Direction:
    """One direction of a stream."""

    def __init__(self) -> None:
        self._counted = 0
        self._was_on = False
        self._stalled_s = 0.0

    def count(self, counted: int, passed_s: float, *, is_on: bool) -> float:
        """Return for how many seconds a transfer has made no progress.

        Args:
            counted: the bytes that have moved so far.
            passed_s: seconds since the previous call.
            is_on: whether a transfer is on its way.
        """
        moved = counted - self._counted
        # What moved before a transfer began belongs to none.
        is_stalled = is_on and self._was_on and moved < _LEAST_BYTES_PER_S * passed_s
        self._stalled_s = self._stalled_s + passed_s if is_stalled else 0.0
        self._counted = counted
        self._was_on = is_on
        return self._stalled_s
