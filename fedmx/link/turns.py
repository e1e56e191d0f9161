"""Lets a few streams at a time carry messages, so that what is on its way does not grow with the nodes.

A message that is sent is in memory twice, as a frame and in gRPC; one that arrives is in gRPC until its frame
is complete. With hundreds of nodes, that would be hundreds of models.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

# If more nodes than this are asked together, their replies wait for a turn.
MOST_AT_ONCE = 64
_PLACES = 8
_PATIENCE_S = 0.25


class Turns:
    """The turns of all streams of a server, in one direction.

    Args:
        places: how many streams have a turn at a time.
        patience_s: seconds after which a turn no longer counts, so that a slow line does not hold up the
            others.
    """

    def __init__(self, places: int = _PLACES, patience_s: float = _PATIENCE_S) -> None:
        self._free = asyncio.Semaphore(places)
        self._patience_s = patience_s

    @asynccontextmanager
    async def take(self) -> AsyncIterator[None]:
        """Wait for a turn, in the order of the calls; it ends with the block, or after a while."""
        await self._free.acquire()
        release = _once(self._free.release)
        timer = asyncio.get_running_loop().call_later(self._patience_s, release)
        try:
            yield
        finally:
            timer.cancel()
            release()


def _once(act: Callable[[], None]) -> Callable[[], None]:
    """Return a function that acts at its first call only."""
    left = [act]
    return lambda: left.pop()() if left else None
