"""The server's end of all streams: a gRPC server on its own thread.

Everything but the roster and the futures is touched by that thread alone.
"""

import asyncio
import concurrent.futures
import contextlib
import functools
import threading
from collections.abc import AsyncIterator, Coroutine
from dataclasses import replace
from typing import Any

import grpc
import grpc.aio
from flwr.app import ConfigRecord

from fedmx.errors import FederationError, ProtocolError, RefusedError, SettingsError
from fedmx.link import channel, silence
from fedmx.link.clocks import Clocks
from fedmx.link.flower import error_of
from fedmx.link.repeats import Repeats
from fedmx.link.requests import Request, Requests
from fedmx.link.roster import Member, Roster
from fedmx.link.session import ServicerContext, Stream
from fedmx.log import event, logger, printable, warn
from fedmx.parsing import Address
from fedmx.pki.access import Gate, Site
from fedmx.protocol import control, encode
from fedmx.protocol import link_pb2 as pb
from fedmx.protocol.decode import Assembler

_MAX_NODES = 1_000  # at a time
_MAX_GREETING = 64  # streams without a hello; those of nodes have one from the first moment
_HELLO_TIMEOUT_S = 10.0
_GOODBYE_TIMEOUT_S = 2.0
_WATCH_S = 2.0
_LAST_STEPS_TIMEOUT_S = 0.5  # gRPC's own tasks outlive its stop by a moment


class LinkServer:
    """Serves the link on one address.

    Args:
        address: where to listen.
        roster: told who comes and goes.
        max_model_bytes: the largest set of arrays taken from a node.
        lease_grace_s: how long a node whose stream is gone may take to come back before it is given up.
        gate: who is taken, by TLS; None is plain text.
    """

    def __init__(
        self,
        address: Address,
        roster: Roster,
        *,
        max_model_bytes: int,
        lease_grace_s: float,
        gate: Gate | None = None,
    ) -> None:
        self.address = address
        self.roster = roster
        self._max_model_bytes = max_model_bytes
        self._lease_grace_s = lease_grace_s
        self._gate = gate
        self._requests = Requests()
        self._refusals = Repeats()
        self._clocks = Clocks()
        self._streams: set[Stream] = set()
        self._sites: dict[int, Site] = {}  # by node id
        self._greeting: dict[Stream, None] = {}  # those without a hello, the oldest first
        self._is_stopping = False
        self._last_frame: bytes | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="link", daemon=True)
        self._grpc: grpc.aio.Server

    def start(self) -> None:
        """Listen.

        Raises:
            SettingsError: the address cannot be listened on.
        """
        self._thread.start()
        try:
            channel.check_listening(self.address)
            self._call(self._start())
        except SettingsError:
            self._end_thread()
            raise

    def stop(self, outcome: "pb.Goodbye.Outcome | None", reason: str = "", *, linger_s: float = 0.0) -> None:
        """Say goodbye to every node, if there is an outcome to tell, and close all streams.

        Args:
            outcome: of the run.
            reason: of a failure.
            linger_s: how long nodes that only now dial are told as well.
        """
        last_frame = None if outcome is None else control.goodbye(outcome, reason)
        with contextlib.suppress(concurrent.futures.TimeoutError):
            self._call(self._stop(last_frame, linger_s), timeout_s=linger_s + _GOODBYE_TIMEOUT_S + 1)
        self._end_thread()

    def submit(self, requests: list[Request]) -> None:
        """Ask nodes; each request's future tells the rest."""
        self._loop.call_soon_threadsafe(self._submit, requests)

    def withdraw(self, requests: list[Request]) -> None:
        """Stop waiting for answers; those that still come are dropped."""
        self._loop.call_soon_threadsafe(self._withdraw, requests)

    def _call(self, coroutine: Coroutine[Any, Any, None], timeout_s: float | None = None) -> None:
        asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(timeout_s)

    def _end_thread(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(1)
        if not self._thread.is_alive():
            self._loop.close()

    async def _start(self) -> None:
        channel.quiet_broken_streams()
        options = [*channel.server_options(encode.FRAME_BYTES), ("grpc.so_reuseport", 0)]
        self._grpc = grpc.aio.server(options=options)
        join: grpc.RpcMethodHandler[bytes, bytes] = grpc.stream_stream_rpc_method_handler(self._join)
        handlers = grpc.method_handlers_generic_handler(channel.SERVICE, {channel.METHOD_NAME: join})
        self._grpc.add_generic_rpc_handlers((handlers,))
        try:
            if self._gate is None:
                port = self._grpc.add_insecure_port(str(self.address))
            else:
                port = self._grpc.add_secure_port(str(self.address), self._gate.own.for_server())
        except RuntimeError as error:
            raise SettingsError(f"LISTEN_ADDRESS={self.address}: cannot be listened on: {error}") from None
        self.address = replace(self.address, port=port)
        await self._grpc.start()
        self._watching = asyncio.create_task(self._watch())

    async def _stop(self, last_frame: bytes | None, linger_s: float) -> None:
        self._is_stopping, self._last_frame = True, last_frame
        for stream in self._streams:
            stream.end_with(last_frame)
        await asyncio.sleep(linger_s)
        self._watching.cancel()
        self._refusals.report_now()
        self._clocks.report_now()
        await self._grpc.stop(_GOODBYE_TIMEOUT_S)
        if rest := asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.wait(rest, timeout=_LAST_STEPS_TIMEOUT_S)

    async def _join(self, _: AsyncIterator[bytes], context: ServicerContext) -> None:
        """Serve one stream from hello to its end; what is wrong with it ends it, and nothing else."""
        stream = Stream(context)
        self._streams.add(stream)
        self._greeting[stream] = None
        if len(self._greeting) > _MAX_GREETING:
            self._turn_away(next(iter(self._greeting)))
        reading = asyncio.create_task(self._read(stream))
        writing = asyncio.create_task(stream.write_all())
        stream.drop = reading.cancel
        if self._is_stopping:  # it was dialled while the others were told
            stream.end_with(self._last_frame)
        try:
            await asyncio.wait({reading, writing}, return_when=asyncio.FIRST_COMPLETED)
            error = None if reading.cancelled() or not reading.done() else reading.exception()
            if isinstance(error, FederationError):
                self._refuse(stream, error)
                await asyncio.wait({writing}, timeout=_GOODBYE_TIMEOUT_S)
        finally:
            reading.cancel()
            writing.cancel()
            self._leave(stream)
            for result in await asyncio.gather(reading, writing, return_exceptions=True):
                # Refused above, or what gRPC raises when a stream breaks; anything else is a bug.
                if not isinstance(
                    result, FederationError | grpc.aio.BaseError | asyncio.CancelledError | None
                ):
                    logger.error("a bug in serving a stream", exc_info=result)

    async def _read(self, stream: Stream) -> None:
        member = await self._greet(stream)
        node_id = member.node_id
        assembler = Assembler(
            self._max_model_bytes, lambda header: self._requests.is_waiting(node_id, header.request_id)
        )
        stream.forget = assembler.forget
        while (frame := await stream.read()) is not None:
            kind = frame.WhichOneof("kind")
            if kind == "ready" and not stream.is_ready:
                self._ready(stream, member, control.read_ready(frame.ready))
            elif kind == "begin":
                stream.count_reply()
                assembler.begin(frame.begin, is_kept=self._requests.awaits(node_id))
            elif kind == "chunk":
                self._feed(stream, member, assembler, frame.chunk)
            elif kind == "alive":
                stream.count_sign()
            else:
                raise ProtocolError(f"a frame {kind} from a node that has joined")

    async def _greet(self, stream: Stream) -> Member:
        if self._gate is not None:
            stream.site = self._gate.identify(stream.certificate)
        try:
            async with asyncio.timeout(_HELLO_TIMEOUT_S):
                frame = await stream.read(control.MAX_HELLO_BYTES)
        except TimeoutError:
            stream.is_silent = True
            raise ProtocolError(f"no hello within {_HELLO_TIMEOUT_S:g} s") from None
        self._greeting.pop(stream, None)
        if frame is None or frame.WhichOneof("kind") != "hello":
            raise ProtocolError("the first frame is no hello")
        hello = frame.hello
        control.check_hello(hello)
        if sum(other.member is not None for other in self._streams) >= _MAX_NODES:
            raise RefusedError(f"{_MAX_NODES} nodes are here already, and no more are taken")
        name, instance = hello.name, hello.instance
        if stream.site is not None:  # names and tokens of one site are none of another's
            name, instance = stream.site.name_node(name), f"{stream.site.name}/{instance}"
        control.check_name(name)
        member, replaced = self.roster.join(name, instance, stream, is_name_given=hello.is_name_given)
        if replaced is not None:
            replaced.drop()
        if stream.site is not None:
            self._sites[member.node_id] = stream.site
        stream.member, stream.max_model_bytes = member, hello.max_model_bytes
        stream.send([control.welcome(member.name, member.node_id, self._max_model_bytes)])
        event("node joined", node=member.name)
        return member

    def _feed(self, stream: Stream, member: Member, assembler: Assembler, chunk: bytes) -> None:
        # A method of its own, so that no local variable holds the last reply while the next is awaited.
        received = assembler.feed(chunk)
        if not assembler.is_idle:
            if (arrived := assembler.arrived) is not None:
                self._requests.note_arrival(member.node_id, *arrived)
            return
        bytes_up = stream.take_bytes_up()
        if received is None or not self._requests.settle(
            member.node_id, received.request_id, received.content, bytes_up
        ):
            event("dropped a reply that nobody waits for", node=member.name)

    def _ready(self, stream: Stream, member: Member, description: ConfigRecord) -> None:
        self.roster.ready(member, description)
        event("node ready", node=member.name)
        stream.is_ready = True
        stream.take_bytes_up()
        for request in self._requests.of_node(member.node_id):
            self._ask(stream, request)

    def _submit(self, requests: list[Request]) -> None:
        for request in requests:
            member = self.roster.find(request.node_id)
            if member is None or self.roster.is_gone(member, self._lease_grace_s):
                request.settle(None)
            elif self._requests.add(request) and member.stream is not None and member.stream.is_ready:
                self._ask(member.stream, request)

    def _ask(self, stream: Stream, request: Request) -> None:
        size, limit = request.message.arrays.size, stream.max_model_bytes
        if size > limit:
            error = SettingsError(
                f"MAX_MODEL_BYTES={limit} on this node is less than the {size} bytes of arrays"
            )
            self._requests.settle(request.node_id, request.request_id, error_of(error), 0)
        else:
            stream.replies_left += 1
            stream.send(self._requests.frames(request.node_id, request.request_id))

    def _withdraw(self, requests: list[Request]) -> None:
        for request in requests:
            member = self.roster.find(request.node_id)
            if self._requests.withdraw(request) and member is not None and member.stream is not None:
                member.stream.forget(request.request_id)
                member.stream.send([control.withdraw(request.request_id)])

    async def _watch(self) -> None:
        """End the streams whose other end is gone, or may not take part any more."""
        while True:
            await asyncio.sleep(_WATCH_S)
            self._refusals.report()
            measure = functools.cache(silence.measure)  # once for all streams
            for stream in [stream for stream in self._streams if stream.member is not None]:
                if stream.silence.look(_WATCH_S, measure):
                    stream.cause = f"nothing arrived for {silence.LIMIT_S:g} s"
                    stream.drop()
            if self._gate is not None:
                self._clocks.look()
                self._expel(self._gate)

    def _expel(self, gate: Gate) -> None:
        """End the streams of sites that are revoked, or whose certificates end."""
        for stream in [stream for stream in self._streams if not stream.is_expelled]:
            if stream.site is not None and (fault := gate.find_fault(stream.site)):
                stream.is_expelled = True
                self._refuse(stream, RefusedError(fault))
                self._loop.call_later(_GOODBYE_TIMEOUT_S, stream.drop)  # of one that reads nothing
        for node_id in [node_id for node_id, site in self._sites.items() if gate.find_fault(site)]:
            if self.roster.expel(node_id):  # whose stream had broken before
                self._requests.give_up(node_id)
                del self._sites[node_id]

    def _leave(self, stream: Stream) -> None:
        self._streams.discard(stream)
        self._greeting.pop(stream, None)
        if stream.member is None or not self.roster.leave(
            stream.member, stream, is_for_good=stream.is_expelled
        ):
            return
        if stream.is_ready or stream.is_ending:
            event("node left", node=stream.member.name, cause=stream.cause)
        else:
            hint = "its own log has the reason"
            warn("node left before it was ready", node=stream.member.name, cause=stream.cause, hint=hint)
        if stream.is_expelled:
            self._requests.give_up(stream.member.node_id)
        else:
            self._loop.call_later(self._lease_grace_s, self._give_up, stream.member)

    def _give_up(self, member: Member) -> None:
        if self.roster.is_gone(member, self._lease_grace_s):
            self._requests.give_up(member.node_id)

    def _refuse(self, stream: Stream, error: FederationError) -> None:
        who = stream.peer if stream.member is None else stream.member.name
        reason = printable(str(error))
        # A program that is restarted dials from another port each time.
        host = stream.peer.rpartition(":")[0]
        key = host if stream.member is None else stream.member.name, reason
        self._refusals.warn(key, "refused a node", node=who, reason=reason)
        # Who has said nothing is told nothing: that may be a node on a bad line, and then it dials again.
        stream.end_with(None if stream.is_silent else control.goodbye(pb.Goodbye.REFUSED, reason))

    def _turn_away(self, stream: Stream) -> None:
        """End the stream that has been without a hello for longest, to make room."""
        del self._greeting[stream]
        stream.is_silent = True
        self._refuse(stream, ProtocolError("no hello, and others wait to say theirs"))
        stream.drop()
