"""The server's end of all streams: a gRPC server on its own thread, and what is asked of whom.

Everything but the roster and the futures is touched by that thread alone.
"""

import asyncio
import concurrent.futures
import contextlib
import socket
import threading
import time
from collections.abc import AsyncIterator, Coroutine, Iterable
from dataclasses import dataclass, field
from typing import Any

import grpc
import grpc.aio
from flwr.app import ConfigRecord

from fedmx import __version__, parsing
from fedmx.errors import FederationError, ProtocolError, RefusedError, SettingsError
from fedmx.link import channel, codec
from fedmx.link import link_pb2 as pb
from fedmx.link.roster import Member, Roster
from fedmx.log import event, printable, warn
from fedmx.parsing import Address

_HELLO_TIMEOUT_S = 10.0
_GOODBYE_TIMEOUT_S = 2.0
_MAX_INSTANCE_LENGTH = 64


@dataclass
class Request:
    """A message on its way to a node and back."""

    node_id: int
    header: pb.Header
    encoded: codec.EncodedArrays
    done: "concurrent.futures.Future[Answer | None]" = field(default_factory=concurrent.futures.Future)
    asked_at: float = 0.0
    bytes_down: int = 0

    def frames(self) -> list[bytes]:
        """Give the frames to send, the arrays' shared with every other request that carries them."""
        frames = list(codec.frames(self.header, self.encoded))
        self.bytes_down = sum(map(len, frames))
        return frames

    def settle(self, answer: "Answer | None") -> None:
        """End the wait for it: with an answer, or with None because its node is gone."""
        if not self.done.done():
            self.done.set_result(answer)


@dataclass(frozen=True)
class Answer:
    """A node's reply to a request."""

    envelope: codec.Envelope
    bytes_down: int
    bytes_up: int
    seconds: float


class _Stream:
    """One node's stream, while it lasts."""

    def __init__(self, context: grpc.aio.ServicerContext) -> None:
        self._context = context
        self._outbox: asyncio.Queue[Iterable[bytes] | None] = asyncio.Queue()
        self.bytes_up = 0

    def send(self, frames: Iterable[bytes]) -> None:
        self._outbox.put_nowait(frames)

    def close(self) -> None:
        """End the stream once what was given to `send` is out."""
        self._outbox.put_nowait(None)

    async def write_all(self) -> None:
        while (frames := await self._outbox.get()) is not None:
            for frame in frames:
                await self._context.write(frame)
            del frames  # a broadcast's frames are one model: not kept while waiting for the next

    async def read(self) -> pb.Frame | None:
        data = await self._context.read()
        if data is grpc.aio.EOF:
            return None
        self.bytes_up += len(data)
        return codec.parse_frame(data)


class LinkServer:
    """Serves the link on one address.

    Args:
        address: where to listen.
        roster: told who comes and goes.
        max_model_bytes: the largest set of arrays taken from a node.
        lease_grace_s: how long a node whose stream is gone may take to come back before it is given up.
        credentials: TLS; None is plain text.
    """

    def __init__(
        self,
        address: Address,
        roster: Roster,
        *,
        max_model_bytes: int,
        lease_grace_s: float,
        credentials: grpc.ServerCredentials | None = None,
    ) -> None:
        self.address = address
        self.roster = roster
        self._max_model_bytes = max_model_bytes
        self._lease_grace_s = lease_grace_s
        self._credentials = credentials
        self._pending: dict[int, dict[str, list[Request]]] = {}
        self._loop = asyncio.new_event_loop()
        self._stopping: asyncio.Event
        self._thread = threading.Thread(target=self._loop.run_forever, name="link", daemon=True)

    def start(self) -> None:
        """Listen.

        Raises:
            SettingsError: the address cannot be listened on.
        """
        _check_address(self.address)
        self._thread.start()
        self._call(self._start())

    def stop(self, outcome: "pb.Goodbye.Outcome | None", reason: str = "") -> None:
        """Say goodbye to every node, if there is an outcome to tell, and close all streams."""
        with contextlib.suppress(concurrent.futures.TimeoutError):
            self._call(self._stop(outcome, reason), timeout_s=2 * _GOODBYE_TIMEOUT_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_GOODBYE_TIMEOUT_S)

    def submit(self, requests: list[Request]) -> None:
        """Ask nodes; each request's future tells the rest."""
        self._loop.call_soon_threadsafe(self._submit, requests)

    def withdraw(self, requests: list[Request]) -> None:
        """Stop waiting for answers; those that still come are dropped."""
        self._loop.call_soon_threadsafe(self._withdraw, requests)

    def _call(self, coroutine: Coroutine[Any, Any, None], timeout_s: float | None = None) -> None:
        asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(timeout_s)

    async def _start(self) -> None:
        self._grpc = grpc.aio.server(options=[*channel.options(codec.FRAME_BYTES), ("grpc.so_reuseport", 0)])
        join = grpc.stream_stream_rpc_method_handler(self._join)
        handler = grpc.method_handlers_generic_handler(channel.SERVICE, {channel.METHOD_NAME: join})
        self._grpc.add_generic_rpc_handlers((handler,))
        try:
            if self._credentials is None:
                self._grpc.add_insecure_port(str(self.address))
            else:
                self._grpc.add_secure_port(str(self.address), self._credentials)
        except RuntimeError as error:
            raise SettingsError(f"LISTEN_ADDRESS={self.address}: cannot be listened on: {error}") from None
        await self._grpc.start()

    async def _stop(self, outcome: "pb.Goodbye.Outcome | None", reason: str) -> None:
        for member in [self.roster.find(node.node_id) for node in self.roster.nodes()]:
            if member is not None and member.stream is not None:
                if outcome is not None:
                    member.stream.send([_goodbye(outcome, reason)])
                member.stream.close()
        await self._grpc.stop(_GOODBYE_TIMEOUT_S)

    async def _join(self, _: AsyncIterator[bytes], context: grpc.aio.ServicerContext) -> None:
        """Serve one stream from hello to its end; what is wrong with it ends it, and nothing else."""
        stream = _Stream(context)
        try:
            member = await self._greet(stream)
        except FederationError as error:
            await self._refuse(stream, context.peer(), error)
            return
        reading = asyncio.create_task(self._read(stream, member))
        writing = asyncio.create_task(stream.write_all())
        try:
            await asyncio.wait({reading, writing}, return_when=asyncio.FIRST_COMPLETED)
            if reading.done() and isinstance(error := reading.exception(), FederationError):
                writing.cancel()
                await asyncio.wait({writing})
                await self._refuse(stream, member.name, error)
            elif reading.done():
                reading.result()
        finally:
            reading.cancel()
            writing.cancel()
            self._leave(member, stream)

    async def _greet(self, stream: _Stream) -> Member:
        try:
            async with asyncio.timeout(_HELLO_TIMEOUT_S):
                frame = await stream.read()
        except TimeoutError:
            raise ProtocolError(f"no hello within {_HELLO_TIMEOUT_S:g} s") from None
        if frame is None or frame.WhichOneof("kind") != "hello":
            raise ProtocolError("the first frame is no hello")
        hello = frame.hello
        _check_hello(hello)
        member, replaced = self.roster.join(
            hello.name, hello.instance, stream, is_name_given=hello.is_name_given
        )
        if replaced is not None:
            replaced.close()
        event("node joined", node=member.name)
        welcome = pb.Welcome(name=member.name, node_id=member.node_id)
        stream.send([pb.Frame(welcome=welcome).SerializeToString()])
        return member

    async def _read(self, stream: _Stream, member: Member) -> None:
        waiting = self._pending.setdefault(member.node_id, {})
        assembler = codec.Assembler(self._max_model_bytes, lambda header: header.request_id in waiting)
        while (frame := await stream.read()) is not None:
            kind = frame.WhichOneof("kind")
            if kind == "ready":
                self._ready(stream, member, codec.decode_config(frame.ready.description))
            elif kind == "begin":
                stream.bytes_up = len(frame.SerializeToString())
                assembler.begin(frame.begin)
            elif kind == "chunk":
                if (envelope := assembler.feed(frame.chunk)) is not None:
                    self._settle(member, envelope, stream.bytes_up)
                elif assembler.is_idle:
                    event("dropped a reply that nobody waits for", node=member.name)
            else:
                raise ProtocolError(f"a frame {kind} from a node that has joined")

    def _ready(self, stream: _Stream, member: Member, description: ConfigRecord) -> None:
        self.roster.ready(member, description)
        event("node ready", node=member.name)
        for requests in self._pending[member.node_id].values():
            stream.send(requests[0].frames())

    def _submit(self, requests: list[Request]) -> None:
        for request in requests:
            member = self.roster.find(request.node_id)
            request.asked_at = time.monotonic()
            if member is None or self._is_given_up(member):
                request.settle(None)
                continue
            same = self._pending.setdefault(member.node_id, {}).setdefault(request.header.request_id, [])
            same.append(request)
            if len(same) == 1 and member.view().is_ready:
                member.stream.send(request.frames())

    def _withdraw(self, requests: list[Request]) -> None:
        for request in requests:
            self._pending.get(request.node_id, {}).pop(request.header.request_id, None)

    def _settle(self, member: Member, envelope: codec.Envelope, bytes_up: int) -> None:
        now = time.monotonic()
        for request in self._pending[member.node_id].pop(envelope.request_id, []):
            request.settle(Answer(envelope, request.bytes_down, bytes_up, now - request.asked_at))

    def _leave(self, member: Member, stream: _Stream) -> None:
        if self.roster.leave(member, stream):
            event("node left", node=member.name)
            self._loop.call_later(self._lease_grace_s, self._give_up, member)

    def _is_given_up(self, member: Member) -> bool:
        return member.stream is None and time.monotonic() - member.since >= self._lease_grace_s

    def _give_up(self, member: Member) -> None:
        if not self._is_given_up(member):
            return
        for requests in self._pending.pop(member.node_id, {}).values():
            for request in requests:
                request.settle(None)

    async def _refuse(self, stream: _Stream, who: str, error: FederationError) -> None:
        warn("refused a node", node=who, reason=str(error))
        stream.send([_goodbye(pb.Goodbye.REFUSED, str(error))])
        stream.close()
        with contextlib.suppress(grpc.aio.AbortError, asyncio.TimeoutError, grpc.aio.UsageError):
            await asyncio.wait_for(stream.write_all(), _GOODBYE_TIMEOUT_S)


def _check_hello(hello: pb.Hello) -> None:
    if hello.version != __version__:
        theirs = printable(hello.version, 40)
        raise RefusedError(
            f"client fedmx {theirs}, server fedmx {__version__}: expected the same version on both sides"
        )
    if not 0 < len(hello.instance) <= _MAX_INSTANCE_LENGTH:
        raise ProtocolError("a hello without an instance token")
    if not parsing.is_name(hello.name):
        raise RefusedError(
            f"node name {printable(hello.name, 80)!r}: expected letters, digits, '.', '_' or '-'"
        )


def _check_address(address: Address) -> None:
    """Try the address with a plain socket, whose error says what gRPC's does not."""
    try:
        family, kind, _, _, target = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)[
            0
        ]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(target)
    except OSError as error:
        raise SettingsError(
            f"LISTEN_ADDRESS={address}: {error.strerror or error}; expected a free address of this machine"
        ) from None


def _goodbye(outcome: "pb.Goodbye.Outcome", reason: str) -> bytes:
    return pb.Frame(goodbye=pb.Goodbye(outcome=outcome, reason=printable(reason))).SerializeToString()
