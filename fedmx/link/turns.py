"""Lets a few streams at a time carry messages, so that what is on its way does not grow with the nodes.

A message that is sent is in memory twice, as a frame and in gRPC; one that arrives is in gRPC until its frame
is complete. With hundreds of nodes, that would be hundreds of models.
"""

import asyncio

# If more nodes than this are asked together, their replies wait for a turn.
PLACES = 8
_PATIENCE_S = 0.25


class Turns:
    """The turns of all streams of a server, in one direction.

    Args:
        places: how many streams have a turn at a time.
        patience_s: seconds after which a turn no longer counts, so that a slow line does not hold up the
            others.
    """

    def __init__(self, places: int = PLACES, patience_s: float = _PATIENCE_S) -> None:
        self._free = asyncio.Semaphore(places)
        self._patience_s = patience_s

    def take(self) -> "Turn":
        """Return a context that waits for a turn, in the order of the waits."""
        return Turn(self._free, self._patience_s)


class Turn:
    """One turn; it ends with its block, or after a while.

    Args:
        free: the turns that are free.
        patience_s: seconds after which it no longer counts.
    """

    def __init__(self, free: asyncio.Semaphore, patience_s: float) -> None:
        self._free = free
        self._patience_s = patience_s
        self._counts = False
        self._timer: asyncio.TimerHandle

    async def __aenter__(self) -> None:
        """Wait for the turn."""
        await self._free.acquire()
        self._counts = True
        self._timer = asyncio.get_running_loop().call_later(self._patience_s, self._release)

    async def __aexit__(self, *_: object) -> None:
        """End it."""
        self._timer.cancel()
        self._release()

    def _release(self) -> None:
        if self._counts:
            self._counts = False
            self._free.release()
