"""The turn of one node to send the arrays of a reply that waits."""

import asyncio
from collections.abc import Callable

from fedmx.link.progress import Progress
from fedmx.link.turns import Turns


class Loan:
    """One node's turn, from the first chunk of a reply to its last.

    Args:
        turns: of all streams.
        progress: of the node's stream, which does not stall while the node waits for its turn.
        go: lets the node send its first chunk.
    """

    def __init__(self, turns: Turns, progress: Progress, go: Callable[[], None]) -> None:
        self._turns = turns
        self._progress = progress
        self._go = go
        self._is_returned = asyncio.Event()
        self._lending: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Let the node go when its turn comes."""
        # A node that did not wait for an earlier turn has no use for it any more.
        self.cancel()
        self._lending = asyncio.create_task(self._lend())

    def end(self) -> None:
        """Note that the reply is complete."""
        self._is_returned.set()

    def cancel(self) -> None:
        """Note that the stream has ended."""
        if self._lending is not None:
            self._lending.cancel()

    async def _lend(self) -> None:
        self._is_returned.clear()
        self._progress.is_held = True
        async with self._turns.take():
            self._progress.is_held = False
            self._go()
            await self._is_returned.wait()
