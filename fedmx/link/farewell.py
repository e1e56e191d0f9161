"""Lets goodbyes reach the nodes on slow lines before their connections are closed.

When a step goes on without a node, some megabytes of a model that is no longer awaited may be in the buffers
of gRPC and of the kernel. The goodbye is written behind them, long before the node can read it. If the
connection were closed then, the node would never read it, and would look for the server.
"""

import asyncio
import time
from collections.abc import Iterable

from fedmx.link import connections
from fedmx.link.connections import Connection, Peer
from fedmx.log import event

# How long a server stays for lines that move, however slowly.
LIMIT_S = 60.0
_LOOK_S = 0.02
# Fewer bytes are no progress: gRPC's pings.
_LEAST_BYTES = 1024
# How long all that this machine sent may be on its way, for example in the buffers of a proxy.
_ARRIVAL_S = 5.0


class _Line:
    """The connection of a node that has not read its goodbye yet.

    Args:
        acknowledged: bytes, when it was measured first.
        patience_s: how long it may make no progress while bytes wait to be sent.
    """

    def __init__(self, acknowledged: int, patience_s: float) -> None:
        self._acknowledged = acknowledged
        self._patience_s = patience_s
        self._moved_at = time.monotonic()

    def is_alive(self, connection: Connection) -> bool:
        """Return whether the goodbye may still arrive."""
        now = time.monotonic()
        if connection.acknowledged - self._acknowledged >= _LEAST_BYTES:
            self._acknowledged = connection.acknowledged
            self._moved_at = now
        return now - self._moved_at < (self._patience_s if connection.unsent else _ARRIVAL_S)


class Farewell:
    """The lines that are slow when the server stops: those on which bytes wait to be sent.

    Args:
        patience_s: how long such a line may make no progress.
    """

    def __init__(self, patience_s: float) -> None:
        self._patience_s = patience_s
        self._slow: dict[Peer, _Line] = {}

    def find_slow(self, peers: Iterable[Peer]) -> None:
        """Find out which lines are slow, before a goodbye is written. Without Linux's counters, none is."""
        found = connections.measure()
        for peer in peers:
            if peer in found and found[peer].unsent:
                self._slow[peer] = _Line(found[peer].acknowledged, self._patience_s)

    async def hold(self, peer: Peer) -> None:
        """Keep a stream on a slow line open until it is cancelled: its node does so after the goodbye.

        A connection without a stream would soon be closed (`channel.server_options`).
        """
        if peer in self._slow:
            try:
                await asyncio.Event().wait()
            finally:
                self._slow.pop(peer, None)

    async def wait(self) -> None:
        """Wait until the nodes on slow lines have read their goodbye, or it can no longer arrive."""
        await self._wait(self._patience_s)
        if self._slow:
            event("waiting for nodes on slow lines to receive the goodbye", nodes=len(self._slow))
            await self._wait(LIMIT_S - self._patience_s)

    async def _wait(self, limit_s: float) -> None:
        end = time.monotonic() + limit_s
        is_over = False
        while self._slow and not is_over:
            await asyncio.sleep(_LOOK_S)
            is_over = time.monotonic() >= end
            found = connections.measure()
            for peer, line in list(self._slow.items()):
                if peer not in found or not line.is_alive(found[peer]):
                    del self._slow[peer]
