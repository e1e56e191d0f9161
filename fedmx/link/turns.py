"""Lets a few streams at a time carry messages, so that what is on its way does not grow with the nodes.

A message that is sent is in memory twice, as a frame and in gRPC; one that arrives is in gRPC until its frame
is complete. With hundreds of nodes, that would be hundreds of models.
"""

import asyncio

_PLACES = 8
# Bytes that replies may have on their way together without waiting for a turn, and that one has at most.
_MOST_ON_THEIR_WAY = 64 * 1024 * 1024
_MOST_OF_ONE = 8 * 1024 * 1024
_PATIENCE_S = 0.25


def must_wait(replies: int, array_bytes: int) -> bool:
    """Return whether replies with arrays of about so many bytes each wait for their turn."""
    return replies * min(array_bytes, _MOST_OF_ONE) > _MOST_ON_THEIR_WAY


class Turns:
    """The turns of all streams of a server, in one direction.

    Args:
        places: how many streams have a turn at a time.
        patience_s: seconds after which a turn no longer counts, so that a slow line does not hold up the
            others.

    Attributes:
        patience_s: the same.
    """

    def __init__(self, places: int = _PLACES, patience_s: float = _PATIENCE_S) -> None:
        self.patience_s = patience_s
        self._free = asyncio.Semaphore(places)

    def take(self) -> "Turn":
        """Return a context that waits for a turn, in the order of the waits."""
        return Turn(self._free, self.patience_s)


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
