"""The server's end of one node's stream: what is written to it and read from it."""

import asyncio
import math
import time
from collections.abc import Callable, Iterable
from typing import Any

import grpc.aio

from fedmx.errors import ProtocolError
from fedmx.link import silence
from fedmx.link.roster import Member
from fedmx.link.silence import Silence
from fedmx.pki.access import Site
from fedmx.protocol import control, encode
from fedmx.protocol import link_pb2 as pb

ServicerContext = grpc.aio.ServicerContext[Any, bytes]  # what is read is bytes, or EOF


class Stream:
    """One node's stream, while it lasts.

    Attributes:
        member: whose it is, once it was welcomed.
        max_model_bytes: the largest set of arrays that its node takes.
        is_ready: whether its node can be sent work through it.
        drop: ends it without a word.
        forget: lets go of what has arrived of the reply to a request.
        replies_left: how many its node may send: one for each request, and one that it owes from an earlier
            stream.
        site: who is at its other end, on a link with certificates.
        is_silent: whether it ends because nothing was said on it.
        is_expelled: whether its node may not come back.
        silence: how long nothing has arrived on it.
        cause: why it ended, where that is known.
    """

    def __init__(self, context: ServicerContext) -> None:
        self.peer = str(context.peer())
        self.member: Member | None = None
        self.max_model_bytes = 0
        self.is_ready = False
        self.drop: Callable[[], object] = lambda: None
        self.forget: Callable[[str], object] = lambda _request_id: None
        self.replies_left = 1
        self.site: Site | None = None
        self.is_silent = False
        self.is_expelled = False
        address = silence.parse_peer(self.peer)
        self.silence = Silence(lambda ages: ages.get(address, math.inf))
        self.cause: str | None = None
        self._began, self._signs = time.monotonic(), 0
        self._context = context
        self._outbox: asyncio.Queue[Iterable[bytes] | None] = asyncio.Queue()
        self._is_ending = asyncio.Event()
        self._last_frame: bytes | None = None
        self._bytes_up = 0

    @property
    def certificate(self) -> bytes:
        """The certificate of its other end, PEM."""
        return b"".join(self._context.auth_context().get("x509_pem_cert", ()))

    @property
    def is_ending(self) -> bool:
        """Whether this side ends it."""
        return self._is_ending.is_set()

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
        while (frames := await self._next()) is not None:
            for frame in frames:
                if self._is_ending.is_set():
                    break
                await self._context.write(frame)
        if self._last_frame is not None:
            await self._context.write(self._last_frame)

    async def _next(self) -> Iterable[bytes] | None:
        """Wait for the next frames to write; a sign of life where there are none for a while."""
        try:
            async with asyncio.timeout(silence.SIGN_AFTER_S):
                return await self._outbox.get()
        except TimeoutError:
            return [control.ALIVE]

    async def read(self, at_most: int = encode.FRAME_BYTES) -> pb.Frame | None:
        """Read the next frame, of at most so many bytes; None at the stream's end.

        Raises:
            ProtocolError: it is no frame, or larger.
        """
        data = await self._context.read()
        if data is grpc.aio.EOF:
            return None
        if len(data) > at_most:
            raise ProtocolError(f"a frame of {len(data)} bytes; expected at most {at_most}")
        self.silence.end()
        self._bytes_up += len(data)
        return encode.parse_frame(data)

    def count_reply(self) -> None:
        """Note that a reply begins.

        Raises:
            ProtocolError: there is nothing that it could answer.
        """
        if not self.is_ready:
            raise ProtocolError("a reply from a node that is not ready")
        if not self.replies_left:
            raise ProtocolError("a reply to nothing that was asked")
        self.replies_left -= 1

    def count_sign(self) -> None:
        """Note that its node only says that it is there.

        Raises:
            ProtocolError: it does so without need, and keeps this end busy.
        """
        self._signs += 1
        if self._signs > 2 + 2 * (time.monotonic() - self._began) / silence.SIGN_AFTER_S:
            raise ProtocolError(f"{self._signs} frames alive; expected one in {silence.SIGN_AFTER_S:g} s")

    def take_bytes_up(self) -> int:
        """Give what was read since this was asked the last time."""
        count, self._bytes_up = self._bytes_up, 0
        return count
