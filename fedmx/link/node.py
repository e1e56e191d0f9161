"""The node's end of the link: serves one ClientApp over one stream, and reconnects after a break.

The stream is served on another thread, so that the node stays joined while the app trains on the main thread.
A third thread, the link's, dials and waits between attempts.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import replace

import grpc
from flwr.app import ConfigRecord
from flwr.clientapp import ClientApp

from fedmx import parsing
from fedmx.array_store import ArrayStore
from fedmx.errors import FederationError, ProtocolError, RefusedError
from fedmx.link import channel
from fedmx.link.backoff import Backoff, Wait
from fedmx.link.flower import break_record_cycles
from fedmx.link.handler import Exchange, answer
from fedmx.link.held import Held
from fedmx.link.inbox import Inbox
from fedmx.link.node_stream import LinkOptions, NodeStream, NoWelcomeError
from fedmx.link.reply_cache import ReplyCache
from fedmx.log import event, logger, warn
from fedmx.pki import tls_diagnosis
from fedmx.pki.tls_patience import TlsPatience
from fedmx.protocol import control, encode
from fedmx.protocol import link_pb2 as pb
from fedmx.protocol.control import Welcome
from fedmx.protocol.decode import Assembler, Lacking, Received

_WELCOME_TIMEOUT_S = 10.0
_NOT_WELCOMED = Welcome(name="", node_id=0, max_model_bytes=0)


class NodeLink:
    """A node's membership, from its first hello to the server's goodbye.

    Attributes:
        result: the federation's result of the last round, from the goodbye; empty if it had none.
    """

    def __init__(self, options: LinkOptions) -> None:
        break_record_cycles()
        self.result = ""
        self._options = options
        # After the first welcome, the hello carries the name that the server granted.
        self._hello = options.hello
        self._inbox = Inbox()
        self._tls_patience = TlsPatience()
        self._reply_cache = ReplyCache()
        # The arrays of the newest requests. Only the thread of the stream uses them while there is a stream.
        self._held = Held()
        self._store = ArrayStore()
        # Of the request that is arriving: its bytes, and whether its reply waits. Also used by it alone.
        self._bytes_down = 0
        self._reply_waits = False
        # Shared with the thread of the stream. The lock guards the stream and everything that is sent on it.
        self._lock = threading.Lock()
        self._stream: NodeStream | None = None
        self._ready: list[bytes] = []
        self._welcome = _NOT_WELCOMED
        # Set by the first welcome, or when the membership ends without one.
        self._has_begun = threading.Event()

    @property
    def is_member(self) -> bool:
        """Whether the server has welcomed this node, on this stream or an earlier one."""
        return self._welcome is not _NOT_WELCOMED

    def start(self) -> None:
        """Start to dial in a thread, before the model and the data are loaded."""
        event("dialling", address=self._options.address)
        threading.Thread(target=self._stay_joined, name="link", daemon=True).start()

    def await_welcome(self) -> Welcome | None:
        """Wait for the server's first welcome; return None if the run is already finished.

        Raises:
            FederationError: as in `serve`.
        """
        self._has_begun.wait()
        if self.is_member:
            return self._welcome
        # Raises the error with which the membership ended.
        self._inbox.take()
        return None

    def serve(
        self,
        app: ClientApp,
        description: ConfigRecord,
        device: str = "",
        on_exchange: Callable[[Exchange], None] = lambda _: None,
    ) -> None:
        """Answer requests until the run is finished.

        Args:
            app: answers them, in this thread.
            description: what must be equal on all nodes.
            device: what the node trains on, for the server's log and page.
            on_exchange: called in this thread after each reply that the app has computed.

        Raises:
            UnreachableError: the server stayed away for SERVER_WAIT_TIMEOUT.
            RefusedError: the server refused this node.
            TrainingFailedError: the run failed.
            SettingsError: the description is too large for a frame.
        """
        ready = [control.build_ready(description, device)]
        with self._lock:
            self._ready = ready
            if self._stream is not None:
                self._stream.send(ready)
        while (request := self._inbox.take()) is not None:
            if exchange := self._answer(app, request):
                on_exchange(exchange)
            # A request holds a whole model: release it before waiting for the next one.
            del request

    def _answer(self, app: ClientApp, request: Received) -> Exchange | None:
        """Send the reply to a request; return their sizes unless the reply was cached."""
        reply, is_new = answer(app, request, self._welcome, self._reply_cache)
        # The order matters: a repeated request that arrives before `finish()` is answered by the frames sent
        # below, on the newest stream; one that arrives later is answered from the cache.
        is_awaited = self._inbox.finish()
        with self._lock:
            # If there is no stream, the server repeats the request on the next one.
            if self._stream is not None and is_awaited:
                self._stream.send(reply.frames())
        bytes_up = reply.wire_bytes if is_awaited else 0
        return Exchange(request.round, request.frame_bytes, bytes_up) if is_new else None

    def _stay_joined(self) -> None:
        """Reconnect until the membership ends, then notify the inbox of the end or the error."""
        try:
            self._dial_until_goodbye()
            self._inbox.end(None)
        except FederationError as error:
            self._inbox.end(error)
        except Exception as error:  # noqa: BLE001 - a bug in this thread must end the program, not hang it
            logger.exception("a bug in the link's thread")
            self._inbox.end(FederationError(f"the link's thread ended: {error}"))
        finally:
            self._has_begun.set()

    def _dial_until_goodbye(self) -> None:
        wait = Wait(self._options.address, self._options.wait_timeout_s)
        backoff = Backoff()
        while wait.left_s > 0:
            began = time.monotonic()
            if self._dial(wait):
                return
            if self._leave_stream():
                warn("lost the server, dialling again", address=self._options.address, cause=wait.cause)
                wait.restart()
                backoff.note_connection(lasted_s=time.monotonic() - began)
            else:
                self._diagnose_tls(wait)
            wait.report()
            backoff.pause()
        raise wait.error()

    def _dial(self, wait: Wait) -> bool:
        """Serve one stream; return whether the run is finished. If it is not, `wait.cause` has the reason."""
        try:
            if self._serve_stream(min(_WELCOME_TIMEOUT_S, wait.left_s)):
                return True
            wait.cause = "the stream ended"
        except NoWelcomeError:
            # The reason is still that of the attempt before.
            pass
        except grpc.RpcError as error:
            wait.cause = channel.explain(error)
        except TimeoutError as error:
            wait.cause = str(error)
        except ProtocolError as error:
            # While the server is down, a load balancer may connect its nodes to another service.
            if not self.is_member or self._stream is not None:
                raise
            wait.cause = str(error)
        return False

    def _diagnose_tls(self, wait: Wait) -> None:
        """Check whether TLS is the reason why no welcome arrived.

        Raises:
            RefusedError: TLS has failed for a while, and this node has never been a member. A member keeps
                dialling: its certificates have worked before, so another service answers at the address or a
                clock is temporarily wrong.
        """
        options = self._options
        problem = tls_diagnosis.find_problem(options.address, options.credentials, options.proxy)
        is_lasting = self._tls_patience.note(problem)
        if problem is None:
            return
        wait.cause = f"TLS: {problem}"
        if is_lasting and not self.is_member:
            raise RefusedError(f"SERVER_ADDRESS={options.address}: {wait.cause}")

    def _serve_stream(self, patience_s: float) -> bool:
        """Join, and read until the stream ends; return whether the run is finished."""
        stream = NodeStream(self._options)
        stream.send([control.build_hello(self._hello)])
        assembler = Assembler(
            self._hello.max_model_bytes,
            self._store.open,
            find_array=lambda header, digest: self._held.find(header.run_id, digest),
        )

        def handle(data: bytes) -> bool:
            chunk = encode.read_chunk(data)
            if chunk is None:
                return self._handle(encode.parse_frame(data), stream, assembler)
            self._bytes_down += len(data)
            self._take(stream, assembler.feed(chunk))
            return False

        try:
            return stream.serve(handle, patience_s)
        finally:
            self._held = self._held.with_parts(*assembler.take_complete())

    def _handle(self, frame: pb.Frame, stream: NodeStream, assembler: Assembler) -> bool:
        """Handle a frame that is not a chunk; return whether it ends the membership."""
        kind = frame.WhichOneof("kind")
        if kind == "welcome":
            stream.confirm()
            self._join(stream, control.parse_welcome(frame.welcome))
        elif kind == "begin":
            self._bytes_down = frame.ByteSize()
            self._reply_waits = frame.begin.reply_waits
            self._take(stream, assembler.begin(frame.begin))
        elif kind == "repeat":
            self._repeat(stream, frame.repeat.request_id)
        elif kind == "go":
            stream.go()
        elif kind == "missing":
            stream.send(self._reply_cache.send_again(frame.missing))
        elif kind == "withdraw":
            if not assembler.is_idle:
                assembler.abort()
            self._inbox.withdraw(frame.withdraw.request_id)
            self._reply_cache.withdraw(frame.withdraw.request_id)
        elif kind == "goodbye":
            self.result = frame.goodbye.result
            stream.let_end()
            control.check_goodbye(frame.goodbye)
            return True
        elif kind != "alive":
            raise ProtocolError(f"the server sent an unexpected frame {kind}")
        return False

    def _take(self, stream: NodeStream, result: Received | Lacking | None) -> None:
        """Queue the request that a frame completed, or ask for the arrays that it lacks."""
        # A method of its own, so that no local variable holds a request while the app works on it.
        if isinstance(result, Lacking):
            stream.send([control.build_missing(result.request_id, result.places)])
        elif result is not None:
            self._held = Held.of(result) or self._held
            self._inbox.put(replace(result, frame_bytes=self._bytes_down, reply_waits=self._reply_waits))

    def _repeat(self, stream: NodeStream, request_id: str) -> None:
        """Answer a request that the server believes to be here, or ask for it if it is not."""
        if self._inbox.repeat(request_id):
            return
        frames = self._reply_cache.repeat(request_id)
        stream.send(frames or [control.build_missing(request_id, [])])

    def _join(self, stream: NodeStream, welcome: Welcome) -> None:
        if self.is_member and welcome.task_options != self._welcome.task_options:
            raise RefusedError(
                f"the server has TASK_OPTIONS={welcome.task_options}; expected {self._welcome.task_options},"
                " from which this client built its model: start the client again"
            )
        event("joined", address=self._options.address, node=welcome.name)
        # The server may have appended a counter that makes the name too long for a hello.
        if parsing.is_name(welcome.name, control.LONGEST_NAME):
            self._hello = replace(self._hello, name=welcome.name)
        with self._lock:
            self._welcome = welcome
            self._stream = stream
            self._has_begun.set()
            if self._ready:
                requests = [*self._inbox.list_requests(), *self._reply_cache.list_requests()]
                stream.send([self._held.build_frame(requests), *self._ready])

    def _leave_stream(self) -> bool:
        """Forget the stream; return whether the server had welcomed this node on it."""
        with self._lock:
            was_joined = self._stream is not None
            self._stream = None
        if was_joined:
            self._inbox.suspend()
        return was_joined
