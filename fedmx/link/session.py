"""The server's end of one node's stream, from its hello to its goodbye."""

import asyncio
from collections.abc import Callable

import grpc.aio

from fedmx.errors import DataError, FederationError, ProtocolError, RefusedError
from fedmx.link import silence
from fedmx.link.channel import ServicerContext
from fedmx.link.connections import Connections, parse_peer
from fedmx.link.delivery import Delivery
from fedmx.link.loan import Loan
from fedmx.link.member import Member
from fedmx.link.outbox import Outbox
from fedmx.link.progress import Progress
from fedmx.link.quorum import Cause
from fedmx.link.quota import Quota
from fedmx.link.request import Request
from fedmx.link.shared import Shared
from fedmx.link.silence import Silence
from fedmx.log import event, logger, printable, warn
from fedmx.pki.access import PeerVerifier, Site
from fedmx.protocol import control, encode
from fedmx.protocol import link_pb2 as pb
from fedmx.protocol.control import Welcome
from fedmx.protocol.decode import Assembler, Lacking, Received

GOODBYE_TIMEOUT_S = 2.0
_HELLO_TIMEOUT_S = 10.0
# How reading and writing normally end. A FederationError has been logged and answered with a goodbye; gRPC
# raises its own errors when a stream breaks.
_EXPECTED = FederationError | grpc.aio.BaseError | asyncio.CancelledError | None


class _NoHelloError(ProtocolError):
    """Nothing arrived from the other end."""


class Session:
    """One node's stream. An error on it ends this stream only.

    All methods run on the thread of the server's event loop.

    Attributes:
        peer: the other end of its connection.
        is_greeting: whether the node's hello is still awaited.
        is_ready: whether the node can be sent work.
    """

    def __init__(self, context: ServicerContext, shared: Shared) -> None:
        self._context = context
        self._shared = shared
        self._peer_name = str(context.peer())
        self.peer = parse_peer(self._peer_name)
        self._silence = Silence(lambda found: silence.find_age(found, self.peer))
        self._progress = Progress(self.peer, shared.stall_timeout_s)
        self._outbox = Outbox(context, shared.sending)
        self._reading: asyncio.Task[None] | None = None
        self._loan = Loan(shared.receiving, self._progress, lambda n: self._outbox.send([control.GO] * n))
        self._assembler: Assembler | None = None
        self._member: Member | None = None
        self._site: Site | None = None
        # The owner of its certificate, even if the certificate was then refused.
        self._claimed: Site | None = None
        self.is_greeting = True
        self.is_ready = False
        self._is_expelled = False
        self._cause: str | None = None
        # Whether the reply that arrives will have to be sent again.
        self._is_lacking = False
        self._quota = Quota()
        self._delivery = Delivery(shared.requests, self._outbox, self._quota)

    async def serve(self) -> None:
        """Read and write until either side ends the stream."""
        self._reading = reading = asyncio.create_task(self._read_all())
        writing = asyncio.create_task(self._outbox.write_all())
        try:
            await asyncio.wait({reading, writing}, return_when=asyncio.FIRST_COMPLETED)
            error = None if reading.cancelled() or not reading.done() else reading.exception()
            if isinstance(error, DataError):
                # The server's disk is full, which is not the node's fault.
                self._shared.requests.fail(error)
            elif isinstance(error, FederationError):
                self._refuse(error)
                await asyncio.wait({writing}, timeout=GOODBYE_TIMEOUT_S)
        finally:
            reading.cancel()
            writing.cancel()
            self._loan.end()
            self._leave()
            for result in await asyncio.gather(reading, writing, return_exceptions=True):
                if not isinstance(result, _EXPECTED):
                    logger.error("a bug in serving a stream", exc_info=result)

    def ask(self, request: Request) -> None:
        """Send a request to the node."""
        self._delivery.ask(request)

    def withdraw(self, request_id: str) -> None:
        """Drop what has arrived of the reply to a request, and notify the node, which sends no more of it."""
        if self._assembler is not None:
            self._assembler.forget(request_id)
        self._outbox.send([control.build_withdraw(request_id)])

    def end_with(self, frame: bytes | None) -> None:
        """Write this frame, if any, and end the stream."""
        self._outbox.end_with(frame)

    def drop(self) -> None:
        """End the stream without a goodbye."""
        if self._reading is not None:
            self._reading.cancel()

    def turn_away(self) -> None:
        """End a stream on which no hello arrived, to make room for others."""
        self._refuse(_NoHelloError("no hello arrived, and newer streams need the room"))
        self.is_greeting = False
        self.drop()

    def check_connection(self, passed_s: float, measure: Callable[[], Connections]) -> None:
        """Send a sign of life if one is due; drop the stream if nothing arrives, or a transfer stalls.

        Args:
            passed_s: seconds since the previous check.
            measure: asks the kernel about all connections.
        """
        member = self._member
        if member is None:
            return
        self._outbox.show_life(passed_s)
        requests = self._shared.requests
        awaited = requests.of_node(member.node_id)
        if self._progress.check(awaited, passed_s, measure, is_writing=self._outbox.is_writing):
            requests.give_up(member.node_id, Cause.STALLED)
            self._cause = f"a transfer made no progress for LINK_STALL_TIMEOUT={self._progress.limit_s:g}"
            self.drop()
        elif self._silence.check(passed_s, measure):
            self._cause = f"nothing arrived for {silence.LIMIT_S:g} s"
            self.drop()

    def check_access(self, verifier: PeerVerifier) -> None:
        """Expel the node if its site's certificate was revoked or has expired."""
        if self._site is None or self._is_expelled:
            return
        if problem := verifier.find_problem(self._site):
            self._is_expelled = True
            self._refuse(RefusedError(problem))
            # A node that does not read would keep its stream open.
            asyncio.get_running_loop().call_later(GOODBYE_TIMEOUT_S, self.drop)

    async def _read_all(self) -> None:
        member = await self._greet()
        requests = self._shared.requests
        assembler = self._assembler = Assembler(
            self._shared.max_model_bytes,
            self._shared.store.open,
            lambda header, size: self._delivery.expects(member.node_id, header.request_id, size),
            lambda header, digest: requests.find_array(member.node_id, header.request_id, digest),
        )
        try:
            while (data := await self._read()) is not None:
                chunk = encode.read_chunk(data)
                if chunk is not None:
                    self._take(member, assembler, assembler.feed(chunk))
                    self._loan.note(assembler.bytes_that_wait)
                else:
                    self._handle(member, assembler, encode.parse_frame(data))
                # A chunk is up to 1 MiB: release it before waiting for the next.
                del data, chunk
        finally:
            header, arrived = assembler.take_complete()
            requests.keep_arrived(member.node_id, header.request_id, [array for _, array in arrived])

    def _handle(self, member: Member, assembler: Assembler, frame: pb.Frame) -> None:
        """Handle a frame that is not a chunk."""
        kind = frame.WhichOneof("kind")
        if kind == "ready" and not self.is_ready:
            self._get_ready(member, frame.ready)
        elif kind == "holding" and not self.is_ready:
            self._delivery.note(control.parse_holding(frame.holding))
        elif kind == "begin":
            if not self.is_ready:
                raise ProtocolError("a reply from a node that is not ready")
            self._quota.count_reply()
            is_kept = self._shared.requests.awaits(member.node_id)
            self._take(member, assembler, assembler.begin(frame.begin, is_kept=is_kept))
            self._loan.note(assembler.bytes_that_wait)
        elif kind == "withdraw" and self.is_ready:
            assembler.abort()
            self._take(member, assembler, None)
        elif kind == "missing" and self.is_ready:
            self._delivery.ask_again(member.node_id, frame.missing)
        elif kind == "alive":
            self._quota.count_sign_of_life()
        else:
            raise ProtocolError(f"unexpected frame {kind} from a joined node")

    async def _greet(self) -> Member:
        """Wait for the node's hello and welcome it."""
        shared = self._shared
        if shared.verifier is not None:
            certificate = b"".join(self._context.auth_context().get("x509_pem_cert", ()))
            self._claimed = shared.verifier.read_site(certificate)
            self._site = shared.verifier.identify(certificate)
        try:
            async with asyncio.timeout(_HELLO_TIMEOUT_S):
                data = await self._read(control.MAX_HELLO_BYTES)
        except TimeoutError:
            raise _NoHelloError(f"no hello within {_HELLO_TIMEOUT_S:g} s") from None
        self.is_greeting = False
        hello = control.parse_hello(None if data is None else encode.parse_frame(data))
        member, replaced = shared.join(hello, self._site, self)
        if replaced is not None:
            replaced.drop()
            shared.requests.break_off(member.node_id)
        self._member = member
        self._delivery.max_model_bytes = hello.max_model_bytes
        welcome = Welcome(member.name, member.node_id, shared.max_model_bytes, shared.task_options)
        self._outbox.send([control.build_welcome(welcome)])
        event("node joined", node=member.name, **hello.log_fields())
        shared.note("node joined", self._peer_name, self._site, member, **hello.log_fields())
        return member

    async def _read(self, at_most: int = encode.FRAME_BYTES) -> bytes | None:
        """Read the next frame of at most `at_most` bytes; return None at the end of the stream.

        Raises:
            ProtocolError: there are too many.
        """
        data = await self._context.read()
        if data is grpc.aio.EOF:
            return None
        if len(data) > at_most:
            raise ProtocolError(f"a frame of {len(data)} bytes; expected at most {at_most}")
        self._silence.end()
        self._quota.count_bytes(len(data))
        return bytes(data)

    def _get_ready(self, member: Member, message: pb.Ready) -> None:
        ready = control.parse_ready(message)
        self._shared.roster.ready(member, ready.description, ready.device)
        event("node ready", node=member.name, device=ready.device or None)
        self.is_ready = True
        self._quota.take_bytes_up()
        for request in self._shared.requests.of_node(member.node_id):
            self.ask(request)

    def _take(self, member: Member, assembler: Assembler, result: Received | Lacking | None) -> None:
        """Settle the reply that a frame completed, or ask for the arrays that it lacks."""
        # A method of its own, so that no local variable holds the last reply while the next is awaited.
        requests = self._shared.requests
        if isinstance(result, Lacking):
            self._quota.count_missing(result.request_id)
            self._outbox.send([control.build_missing(result.request_id, result.places)])
            self._is_lacking = not assembler.is_idle
            return
        if not assembler.is_idle:
            if (arrived := assembler.arrived) is not None:
                requests.note_arrival(member.node_id, *arrived)
            return
        self._loan.end()
        bytes_up = self._quota.take_bytes_up()
        if self._is_lacking:
            self._is_lacking = False
        elif result is None or not requests.settle(
            member.node_id, result.request_id, result.content, bytes_up
        ):
            event("dropped a reply that is no longer awaited", node=member.name)

    def _refuse(self, error: FederationError) -> None:
        """Log why the node is refused, and end the stream with a goodbye that gives the same reason."""
        reason = printable(str(error))
        self._shared.log_refusal(self._peer_name, self._member, reason)
        self._shared.note("node refused", self._peer_name, self._claimed, self._member, reason=reason)
        # A peer that sent nothing gets no goodbye: it may be a node on a slow line, which then dials again.
        is_silent = isinstance(error, _NoHelloError)
        self._outbox.end_with(None if is_silent else control.build_goodbye(pb.Goodbye.REFUSED, reason))

    def _leave(self) -> None:
        """Note that the stream has ended; give up the node's requests unless it reconnects in time."""
        self.is_greeting = False
        member = self._member
        if member is None or not self._shared.roster.leave(member, self, is_for_good=self._is_expelled):
            return
        self._shared.requests.break_off(member.node_id)
        self._shared.note("node left", self._peer_name, self._site, member, cause=self._cause)
        if self.is_ready or self._outbox.is_ending:
            event("node left", node=member.name, cause=self._cause)
        else:
            warn("node left early", node=member.name, cause=self._cause, hint="its own log has the reason")
        if self._is_expelled:
            self._shared.requests.give_up(member.node_id)
        else:
            loop = asyncio.get_running_loop()
            loop.call_later(self._shared.lease_grace_s, self._shared.give_up_if_gone, member)
