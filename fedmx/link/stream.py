"""The server's end of one node's stream: what is written to it and read from it."""

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

import grpc.aio

from fedmx.link import codec
from fedmx.link import link_pb2 as pb
from fedmx.link.roster import Member

ServicerContext = grpc.aio.ServicerContext[Any, bytes]  # what is read is bytes, or EOF


class Stream:
    """One node's stream, while it lasts.

    Attributes:
        member: whose it is, once it was welcomed.
        max_model_bytes: the largest set of arrays that its node takes.
        is_ready: whether its node can be sent work through it.
        drop: ends it without a word.
    """

    def __init__(self, context: ServicerContext) -> None:
        self.peer = str(context.peer())
        self.member: Member | None = None
        self.max_model_bytes = 0
        self.is_ready = False
        self.drop: Callable[[], object] = lambda: None
        self._context = context
        self._outbox: asyncio.Queue[Iterable[bytes] | None] = asyncio.Queue()
        self._is_ending = asyncio.Event()
        self._last_frame: bytes | None = None
        self._bytes_up = 0

    def send(self, frames: Iterable[bytes]) -> None:
        """Write frames after those that wait already."""
        self._outbox.put_nowait(frames)

    def end_with(self, frame: bytes | None) -> None:
        """Write this frame and end the stream; what waits to be written is left out."""
        self._last_frame = frame
        self._is_ending.set()
        self._outbox.put_nowait(None)

    async def write_all(self) -> None:
        """Write what is sent, until the end."""
        while (frames := await self._outbox.get()) is not None:
            for frame in frames:
                if self._is_ending.is_set():
                    break
                await self._context.write(frame)
        if self._last_frame is not None:
            await self._context.write(self._last_frame)

    async def read(self) -> pb.Frame | None:
        """Read the next frame; None at the stream's end.

        Raises:
            ProtocolError: it is no frame.
        """
        data = await self._context.read()
        if data is grpc.aio.EOF:
            return None
        self._bytes_up += len(data)
        return codec.parse_frame(data)

    def take_bytes_up(self) -> int:
        """Give what was read since this was asked the last time."""
        count, self._bytes_up = self._bytes_up, 0
        return count
