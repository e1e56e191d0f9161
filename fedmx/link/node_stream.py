"""The node's end of one stream: frames out through a queue, frames in through an iterator."""

import contextlib
import queue
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import grpc

from fedmx.link import channel, silence
from fedmx.link.silence import Silence, Watchdog
from fedmx.pki.credentials import Credentials
from fedmx.protocol import control, encode
from fedmx.protocol.control import Hello
from fedmx.values import Address


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


class NodeStream:
    """One stream to the server, while it lasts."""

    def __init__(self, options: LinkOptions) -> None:
        self._options = options
        self._silence = Silence(lambda found: silence.find_age_of_host(found, options.nearest))
        self._outbox: queue.SimpleQueue[Iterable[bytes] | None] = queue.SimpleQueue()
        self._may_go = threading.Event()
        self._timer: threading.Timer
        self._call: channel.Call

    def send(self, frames: Iterable[bytes]) -> None:
        """Write frames after those that are queued; any thread may call this."""
        self._outbox.put(frames)

    def go(self) -> None:
        """Write the arrays of the reply that waits: the server is ready for them."""
        self._may_go.set()

    def frames(self) -> Iterator[bytes]:
        """Yield what is to be written; gRPC iterates on a thread of its own."""
        while (frames := self._next()) is not None:
            yield from self._pace(frames)
            # A reply is a model: release it before waiting for the next.
            del frames

    def _pace(self, frames: Iterable[bytes]) -> Iterator[bytes]:
        """Yield frames, with a wait for the server in each of their placeholders."""
        for frame in frames:
            if frame is not encode.WAIT:
                yield frame
                continue
            while not self._may_go.wait(silence.SIGN_AFTER_S):
                yield control.ALIVE
            self._may_go.clear()

    def _next(self) -> Iterable[bytes] | None:
        try:
            return self._outbox.get(timeout=silence.SIGN_AFTER_S)
        except queue.Empty:
            return [control.ALIVE]

    @contextlib.contextmanager
    def open(self, patience_s: float) -> Iterator[Iterator[bytes]]:
        """Dial, and yield the frames that arrive.

        Args:
            patience_s: the stream is cancelled unless `confirm` is called within this time.

        Raises:
            grpc.RpcError: there is no server, or the stream broke.
            TimeoutError: nothing arrived for too long.
        """
        options = self._options
        credentials = options.credentials.for_node() if options.credentials else None
        with channel.dial(options.address, encode.FRAME_BYTES, options.proxy, credentials) as dialled:
            join: grpc.StreamStreamMultiCallable[bytes, bytes] = dialled.stream_stream(channel.METHOD)
            self._call = join(self.frames())
            self._timer = channel.cancel_after(patience_s, self._call)
            watchdog = Watchdog(self._silence, self._call.cancel)
            watchdog.start()
            try:
                yield self._read()
            except grpc.RpcError:
                if not watchdog.has_fired:
                    raise
                raise TimeoutError(f"nothing arrived for {silence.LIMIT_S:g} s") from None
            finally:
                watchdog.stop()
                self._timer.cancel()
                # First, so that a reply that waits is not sent any further.
                self._call.cancel()
                self._outbox.put(None)
                self._may_go.set()

    def confirm(self) -> None:
        """Keep the stream open: the server has answered."""
        self._timer.cancel()

    def let_end(self) -> None:
        """Let the server end the stream after its goodbye."""
        channel.let_end(self._call)

    def _read(self) -> Iterator[bytes]:
        for data in self._call:
            self._silence.end()
            yield data
            # A chunk is up to 1 MiB: release it before waiting for the next.
            del data
