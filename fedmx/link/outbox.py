"""The writing half of a stream at the server: frames in order, signs of life, one final frame."""

import asyncio
from collections.abc import Iterable

from fedmx.link import silence
from fedmx.link.channel import ServicerContext
from fedmx.link.turns import Turns
from fedmx.protocol import control


class Outbox:
    """What is still to be written to one stream.

    Frames are queued as iterables and produced when their turn to be written comes, so that a queued model is
    not copied for each stream that will carry it.

    Args:
        context: of the stream.
        turns: of all streams, to write something that is more than a frame or two.

    Attributes:
        is_writing: whether a frame is being written, which the connection has not taken yet.
    """

    def __init__(self, context: ServicerContext, turns: Turns) -> None:
        self.is_writing = False
        self._context = context
        self._turns = turns
        self._queue: asyncio.Queue[Iterable[bytes] | None] = asyncio.Queue()
        self._is_ending = asyncio.Event()
        self._final_frame: bytes | None = None

    @property
    def is_ending(self) -> bool:
        """Whether this side ends the stream."""
        return self._is_ending.is_set()

    def send(self, frames: Iterable[bytes]) -> None:
        """Write frames after those that are queued; a list is short, and is written without a turn."""
        self._queue.put_nowait(frames)

    def end_with(self, frame: bytes | None) -> None:
        """Write this frame, if any, and end the stream; frames that are still queued are dropped."""
        self._final_frame = frame
        self._is_ending.set()
        self._queue.put_nowait(None)

    async def write_all(self) -> None:
        """Write frames until the stream is ended."""
        while (frames := await self._next()) is not None:
            if isinstance(frames, list) or self.is_ending:
                await self._write(frames)
            else:
                async with self._turns.take():
                    await self._write(frames)
        if self._final_frame is not None:
            await self._context.write(self._final_frame)

    async def _write(self, frames: Iterable[bytes]) -> None:
        for frame in frames:
            if self._is_ending.is_set():
                break
            self.is_writing = True
            await self._context.write(frame)
            self.is_writing = False

    async def _next(self) -> Iterable[bytes] | None:
        """Wait for the next frames; return a sign of life if there are none for a while."""
        try:
            async with asyncio.timeout(silence.SIGN_AFTER_S):
                return await self._queue.get()
        except TimeoutError:
            return [control.ALIVE]
