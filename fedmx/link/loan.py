"""The turn of one node to send the arrays of a reply that waits."""

import asyncio
from collections.abc import Callable

from fedmx.link.progress import Progress
from fedmx.link.turns import Turns
from fedmx.protocol.encode import WAITING_CHUNK_BYTES

# Once its turn has lasted long, a node may send more than a chunk at a time: over a long way, it would wait
# for most of the time. Eight fill 160 Mbit/s at 100 ms.
_MOST_CHUNKS = 8


class Loan:
    """One node's turn, from the first chunk of a reply to its last.

    Args:
        turns: of all streams.
        progress: of the node's stream, which does not stall while the node waits for its turn.
        go: lets the node send so many chunks.
    """

    def __init__(self, turns: Turns, progress: Progress, go: Callable[[int], None]) -> None:
        self._turns = turns
        self._progress = progress
        self._go = go
        self._lending: asyncio.Task[None] | None = None
        # How many chunks the node may send at a time, how many of them have not arrived, and the bytes of
        # these and of all that follow.
        self._chunks = 0
        self._under_way = 0
        self._left = 0

    def note(self, left: int) -> None:
        """Note that a part of a message has arrived, and let the node send more when its turn comes.

        Args:
            left: bytes of the message that the node sends only when it may.
        """
        self._under_way = max(0, self._under_way - 1)
        self._left = left
        if left and self._lending is None:
            self._lending = asyncio.create_task(self._lend())
        self._fill()

    def end(self) -> None:
        """Note that the reply is complete or does not follow, or that the stream has ended."""
        # That may be before the turn comes: a later `go` would be taken for that of the next reply.
        if self._lending is not None:
            self._lending.cancel()
            self._lending = None
        self._chunks = self._under_way = self._left = 0

    async def _lend(self) -> None:
        self._progress.is_held = True
        try:
            async with self._turns.take():
                self._progress.is_held = False
                self._allow(1)
                await asyncio.sleep(self._turns.patience_s)
            self._allow(_MOST_CHUNKS)
        finally:
            self._progress.is_held = False

    def _allow(self, chunks: int) -> None:
        self._chunks = chunks
        self._fill()

    def _fill(self) -> None:
        needed = -(-self._left // WAITING_CHUNK_BYTES)
        more = min(self._chunks, needed) - self._under_way
        if more > 0:
            self._under_way += more
            self._go(more)
