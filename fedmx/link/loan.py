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
        self._lending: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Let the node go when its turn comes."""
        self._lending = asyncio.create_task(self._lend())

    def end(self) -> None:
        """Note that the reply is complete or does not follow, or that the stream has ended."""
        # That may be before the turn comes: a later `go` would be taken for that of the next reply.
        if self._lending is not None:
            self._lending.cancel()
            self._lending = None

    async def _lend(self) -> None:
        self._progress.is_held = True
        try:
            async with self._turns.take():
                self._progress.is_held = False
                self._go()
                await asyncio.get_running_loop().create_future()
        finally:
            self._progress.is_held = False
