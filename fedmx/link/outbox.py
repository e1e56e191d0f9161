"""The writing half of a stream at the server: frames in order, signs of life, one final frame."""

import asyncio
from collections import deque
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
        is_ending: whether this side ends the stream.
    """

    def __init__(self, context: ServicerContext, turns: Turns) -> None:
        self.is_writing = False
        self.is_ending = False
        self._context = context
        self._turns = turns
        self._queue: deque[Iterable[bytes]] = deque()
        self._has_work = asyncio.Event()
        self._idle_s = 0.0
        self._final_frame: bytes | None = None

    def send(self, frames: Iterable[bytes]) -> None:
        """Write frames after those that are queued; a list is short, and is written without a turn."""
        self._queue.append(frames)
        self._has_work.set()

    def end_with(self, frame: bytes | None) -> None:
        """Write this frame, if any, and end the stream; frames that are still queued are dropped."""
        self._final_frame = frame
        self.is_ending = True
        self._has_work.set()

    def show_life(self, passed_s: float) -> None:
        """Write a sign of life if nothing was written for a while.

        Args:
            passed_s: seconds since the previous call.
        """
        self._idle_s += passed_s
        if self._idle_s >= silence.SIGN_AFTER_S and not self.is_writing:
            self._idle_s = 0.0
            self.send([control.ALIVE])

    async def write_all(self) -> None:
        """Write frames until the stream is ended."""
        while not self.is_ending:
            if not self._queue:
                self._has_work.clear()
                await self._has_work.wait()
            elif isinstance(self._queue[0], list):
                await self._write(self._queue.popleft())
            else:
                async with self._turns.take():
                    await self._write(self._queue.popleft())
        if self._final_frame is not None:
            await self._context.write(self._final_frame)

    async def _write(self, frames: Iterable[bytes]) -> None:
        for frame in frames:
            if self.is_ending:
                break
            self.is_writing = True
            await self._context.write(frame)
            self.is_writing = False
        self._idle_s = 0.0
