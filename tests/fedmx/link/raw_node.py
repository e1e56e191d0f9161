"""A node of which a test decides every frame."""

import contextlib
import queue
import threading
from typing import Any

import grpc
from flwr.app import ConfigRecord

from fedmx.link import channel
from fedmx.protocol import control, encode
from fedmx.protocol import link_pb2 as pb
from fedmx.protocol.control import Hello, Holding
from fedmx.values import Address
from tests.bounds import HANG_S
from tests.fedmx.protocol.wire import GIGABYTE


class RawNode:
    """A node that sends whatever the test wants, byte by byte.

    Args:
        address: the server's.
        reads: whether it reads what the server sends.
        tls: None is plain text.
    """

    def __init__(
        self, address: Address, *, reads: bool = True, tls: grpc.ChannelCredentials | None = None
    ) -> None:
        self._outbox: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._received: queue.SimpleQueue[pb.Frame | None] = queue.SimpleQueue()
        options = channel.node_options(encode.FRAME_BYTES, None)
        self._channel = (
            grpc.secure_channel(str(address), tls, options)
            if tls
            else grpc.insecure_channel(str(address), options)
        )
        join: grpc.StreamStreamMultiCallable[bytes, bytes] = self._channel.stream_stream(channel.METHOD)
        self._call = join(iter(self._outbox.get, None))
        if reads:
            self.read()

    def read(self) -> None:
        """Begin to read what the server sends."""
        threading.Thread(target=self._listen, daemon=True).start()

    def send(self, data: bytes | None = None, **frame: Any) -> None:
        self._outbox.put(pb.Frame(**frame).SerializeToString() if data is None else data)

    def send_hello(self, name: str = "raw", **changes: Any) -> None:
        introduction = {"is_name_given": False, "max_model_bytes": GIGABYTE, **changes}
        self.send(control.build_hello(Hello(name, **introduction)))

    def get_ready(
        self,
        name: str = "raw",
        description: ConfigRecord | None = None,
        holding: Holding | None = None,
        **changes: Any,
    ) -> None:
        """Join as a node whose model and data are loaded."""
        self.send_hello(name, **changes)
        assert self.receive("welcome").name == name
        if holding is not None:
            self.send(control.build_holding(holding))
        self.send(control.build_ready(description or ConfigRecord()))

    def receive(self, kind: str) -> Any:
        """Return the next frame, which has to be of this kind."""
        frame = self._received.get(timeout=HANG_S)
        assert frame is not None, f"the stream ended before a {kind}"
        assert frame.WhichOneof("kind") == kind
        return getattr(frame, kind)

    def receive_header(self) -> pb.Header:
        """Return the header of the next message, whose arrays have to fit into one chunk."""
        begin = self.receive("begin")
        if begin.array_bytes:
            self.receive("chunk")
        return pb.Header.FromString(begin.header)

    def expect_end(self) -> None:
        assert self._received.get(timeout=HANG_S) is None

    def receive_kinds(self) -> list[str | None]:
        """Return the kinds of all frames up to the end."""
        kinds = []
        while (frame := self._received.get(timeout=HANG_S)) is not None:
            kinds.append(frame.WhichOneof("kind"))
        return kinds

    def hang_up(self) -> None:
        self._outbox.put(None)
        self._call.cancel()
        self._channel.close()

    def _listen(self) -> None:
        with contextlib.suppress(grpc.RpcError):
            for data in self._call:
                frame = pb.Frame.FromString(data)
                # A sign of life may arrive at any time.
                if frame.WhichOneof("kind") != "alive":
                    self._received.put(frame)
        self._received.put(None)
