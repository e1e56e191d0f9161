"""The node's end of one stream: frames out through a queue, frames in through a function."""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import grpc
import grpc.aio

from fedmx.link import channel, node_loop, silence
from fedmx.link.silence import Silence, Watchdog
from fedmx.pki.credentials import Credentials
from fedmx.protocol import control, encode
from fedmx.protocol.control import Hello
from fedmx.values import Address

_END_TIMEOUT_S = 1.0
# What a write raises once its stream is gone, besides the reason that a read raises.
_BROKEN = (grpc.RpcError, asyncio.InvalidStateError)


@dataclass(frozen=True)
class LinkOptions:
    """How to reach the server, and how this node introduces itself.

    Attributes:
        address: the server's.
        hello: the node's first frame.
        wait_timeout_s: how long the server may be away, at the start and after each break; may be infinite.
        proxy: an HTTP proxy to dial through; by default none, whatever the environment sets.
        credentials: for mutual TLS; None is plain text.
    """

    address: Address
    hello: Hello
    wait_timeout_s: float
    proxy: Address | None = None
    credentials: Credentials | None = None

    @property
    def nearest(self) -> Address:
        """The address that this program's own connection leads to."""
        return self.proxy or self.address


class NoWelcomeError(Exception):
    """The server did not answer in time."""


class NodeStream:
    """One stream to the server, while it lasts; the event loop of this process's nodes serves it.

    Args:
        options: how to reach the server.
    """

    def __init__(self, options: LinkOptions) -> None:
        self._options = options
        self._loop = node_loop.get()
        self._silence = Silence(lambda found: silence.find_age_of_host(found, options.nearest))
        self._queue: deque[Iterable[bytes]] = deque()
        self._has_work = asyncio.Event()
        self._may_go = asyncio.Event()
        self._chunks_allowed = 0
        self._is_confirmed = False
        self._is_over = False
        self._call: channel.Call

    def send(self, frames: Iterable[bytes]) -> None:
        """Write frames after those that are queued; any thread may call this."""
        if node_loop.is_current(self._loop):
            self._put(frames)
        else:
            self._loop.call_soon_threadsafe(self._put, frames)

    def go(self) -> None:
        """Write one more chunk of the reply that waits: the server is ready for it."""
        self._chunks_allowed += 1
        self._may_go.set()

    def confirm(self) -> None:
        """Keep the stream open: the server has answered."""
        self._is_confirmed = True

    def let_end(self) -> None:
        """Let the server end the stream after its goodbye: to cancel it would break it instead."""
        self._is_over = True

    def serve(self, handle: Callable[[bytes], bool], patience_s: float) -> bool:
        """Dial, and pass on the frames that arrive until the stream ends.

        Args:
            handle: is called with each frame, on the loop's thread; returns whether it was the last.
            patience_s: the stream is cancelled unless `confirm` is called within this time.

        Returns:
            Whether there was a last frame.

        Raises:
            grpc.RpcError: there is no server, or the stream broke.
            NoWelcomeError: `confirm` was not called in time.
            TimeoutError: nothing arrived for too long.
        """
        return asyncio.run_coroutine_threadsafe(self._serve(handle, patience_s), self._loop).result()

    async def _serve(self, handle: Callable[[bytes], bool], patience_s: float) -> bool:
        options = self._options
        credentials = options.credentials.for_node() if options.credentials else None
        async with channel.dial(options.address, encode.FRAME_BYTES, options.proxy, credentials) as dialled:
            join: grpc.aio.StreamStreamMultiCallable[bytes, bytes] = dialled.stream_stream(channel.METHOD)
            self._call = join()
            timer = self._loop.call_later(patience_s, self._give_up)
            watchdog = Watchdog(self._silence, lambda: self._loop.call_soon_threadsafe(self._call.cancel))
            watchdog.start()
            try:
                return await self._exchange(handle)
            except asyncio.CancelledError:
                if watchdog.has_fired:
                    raise TimeoutError(f"nothing arrived for {silence.LIMIT_S:g} s") from None
                raise NoWelcomeError from None
            finally:
                watchdog.stop()
                timer.cancel()

    def _give_up(self) -> None:
        if not self._is_confirmed:
            self._call.cancel()

    async def _exchange(self, handle: Callable[[bytes], bool]) -> bool:
        """Read and write until the stream ends; return whether there was a last frame."""
        reading = asyncio.create_task(self._read_all(handle))
        writing = asyncio.create_task(self._write_all())
        try:
            await asyncio.wait({reading, writing}, return_when=asyncio.FIRST_COMPLETED)
            if writing.done() and not isinstance(writing.exception(), _BROKEN):
                writing.result()
            # If the stream broke, this raises the reason.
            return await reading
        finally:
            reading.cancel()
            # A reply that waits is not sent any further.
            writing.cancel()
            await asyncio.wait({reading, writing})
            if self._is_over:
                await self._await_end()
            self._call.cancel()
            # The traceback of a task's error refers to this frame. If the frame referred to the task, what
            # was still to be written would stay in memory until the garbage collector runs.
            del reading, writing

    async def _read_all(self, handle: Callable[[bytes], bool]) -> bool:
        # At the end of the stream, `read` returns EOF, which is not bytes.
        while isinstance(data := await self._call.read(), bytes):
            self._silence.end()
            if handle(data):
                return True
            # A chunk is up to 1 MiB: release it before waiting for the next.
            del data
        return False

    async def _await_end(self) -> None:
        with contextlib.suppress(grpc.RpcError, TimeoutError, asyncio.CancelledError):
            async with asyncio.timeout(_END_TIMEOUT_S):
                while await self._call.read() is not grpc.aio.EOF:
                    pass

    async def _write_all(self) -> None:
        while True:
            if self._queue:
                await self._write(self._queue.popleft())
            else:
                self._has_work.clear()
                await self._wait(self._has_work)

    async def _write(self, frames: Iterable[bytes]) -> None:
        """Write frames, with a wait for the server in each of their placeholders."""
        self._chunks_allowed = 0
        for frame in frames:
            if frame is not encode.WAIT:
                await self._call.write(frame)
                continue
            if not self._chunks_allowed:
                self._may_go.clear()
                await self._wait(self._may_go)
            self._chunks_allowed -= 1

    async def _wait(self, event: asyncio.Event) -> None:
        """Wait for an event; meanwhile, write signs of life."""
        while not event.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(silence.SIGN_AFTER_S):
                    await event.wait()
                    return
            await self._call.write(control.ALIVE)

    def _put(self, frames: Iterable[bytes]) -> None:
        self._queue.append(frames)
        self._has_work.set()
