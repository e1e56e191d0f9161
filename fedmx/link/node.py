"""The node's end of the link: serves one ClientApp over one stream, and comes back after a break.

The stream lives on a thread of its own, so that it stays joined while the app trains on the main thread.
"""

import math
import queue
import random
import secrets
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import grpc
from flwr.app import ConfigRecord, Error
from flwr.clientapp import ClientApp

from fedmx import __version__, parsing
from fedmx.errors import FederationError, ProtocolError
from fedmx.link import channel, silence
from fedmx.link.flower import break_record_cycles
from fedmx.link.handler import call_app, encode_reply
from fedmx.link.inbox import Inbox
from fedmx.link.reply_cache import ReplyCache
from fedmx.link.silence import Silence, Watchdog
from fedmx.link.waiting import Wait
from fedmx.log import event, logger, warn
from fedmx.parsing import Address
from fedmx.pki import tls_diagnosis
from fedmx.pki.credentials import Credentials
from fedmx.protocol import control, encode
from fedmx.protocol import link_pb2 as pb
from fedmx.protocol.decode import Assembler, Received

_WELCOME_TIMEOUT_S = 10.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 2.0


@dataclass(frozen=True)
class LinkOptions:
    """How to reach the server, and as whom.

    Attributes:
        name: this node's name, or the stem of one that the server makes unique.
        wait_timeout_s: how long the server may be away, at the start and after each break; may be infinite.
        max_model_bytes: the largest set of arrays taken from the server.
        proxy: an HTTP proxy to dial through; none by default, whatever the environment says.
        own: what it shows of itself by TLS; None is plain text.
    """

    address: Address
    name: str
    is_name_given: bool
    wait_timeout_s: float
    max_model_bytes: int
    proxy: Address | None = None
    own: Credentials | None = None


@dataclass
class _Stream:
    """One stream, while it lasts."""

    silence: Silence
    outbox: "queue.SimpleQueue[list[bytes] | None]" = field(default_factory=queue.SimpleQueue)

    def frames(self) -> Iterator[bytes]:
        while (frames := self._next()) is not None:
            yield from frames
            del frames  # a reply is a model: not kept while waiting for the next

    def _next(self) -> list[bytes] | None:
        try:
            return self.outbox.get(timeout=silence.SIGN_AFTER_S)
        except queue.Empty:
            return [control.ALIVE]


class NodeLink:
    """A node's membership, from its first hello to the server's goodbye."""

    def __init__(self, options: LinkOptions) -> None:
        break_record_cycles()
        self._options = options
        self._instance = secrets.token_hex(16)
        self._name = options.name  # from the first welcome on, the name that was granted
        self._inbox = Inbox()
        self._kept = ReplyCache()  # touched by the main thread alone
        # Written by the link's thread; the stream and what is put into it, under the lock.
        self._lock = threading.Lock()
        self._stream: _Stream | None = None
        self._ready: list[bytes] = []
        self._server_takes = 0
        self.node_id = 0

    def start(self) -> None:
        """Begin to dial; hello is said before the model and data are loaded."""
        event("dialling", address=self._options.address)
        threading.Thread(target=self._stay_joined, name="link", daemon=True).start()

    def serve(self, app: ClientApp, description: ConfigRecord) -> None:
        """Answer requests until the server says that the run is finished.

        Args:
            app: answers them, in this thread.
            description: what must agree between nodes.

        Raises:
            UnreachableError: the server stayed away for SERVER_WAIT_TIMEOUT.
            RefusedError: the server does not take this node.
            TrainingFailedError: the server said that the run failed.
            SettingsError: the description is too large for a frame.
        """
        ready = [control.ready(description)]
        with self._lock:
            self._ready = ready
            if self._stream is not None:
                self._stream.outbox.put(ready)
        while (request := self._inbox.take()) is not None:
            self._answer(app, request)
            del request  # its arrays are a model: not kept while waiting for the next

    def _answer(self, app: ClientApp, request: Received) -> None:
        frames = self._kept.find(request.header)
        if frames is None:
            self._kept.make_room(request.header)
            content = call_app(app, request, self.node_id)
            frames = encode_reply(request, content, self._server_takes)
            if not isinstance(content, Error):  # a request that is asked again after an error is tried again
                self._kept.add(request.header, frames)
        # In this order: a repeat that came before is answered by what is put into the newest stream here, and
        # one that comes after is answered from the kept reply.
        self._inbox.finish()
        with self._lock:
            if self._stream is not None:  # else the server asks again when the stream is back
                self._stream.outbox.put(frames)

    def _stay_joined(self) -> None:
        """Dial, serve the stream until it breaks, and dial again; every end goes to the inbox."""
        try:
            self._dial_until_goodbye()
            self._inbox.end(None)
        except FederationError as error:
            self._inbox.end(error)
        except Exception as error:  # noqa: BLE001 - a bug in this thread must end the program, not hang it
            logger.exception("a bug in the link's thread")
            self._inbox.end(FederationError(f"the link's thread ended: {error}"))

    def _dial_until_goodbye(self) -> None:
        wait, pause_s = Wait(self._options.address, self._options.wait_timeout_s), _FIRST_PAUSE_S
        while wait.left_s > 0:
            began = time.monotonic()
            if self._dial(wait):
                return
            if self._leave_stream():
                warn("lost the server, dialling again", address=self._options.address, cause=wait.cause)
                wait.restart()
                if time.monotonic() - began > _LONGEST_PAUSE_S:  # not for one that welcomes and drops at once
                    pause_s = _FIRST_PAUSE_S
            wait.report()
            time.sleep(pause_s * random.uniform(0.5, 1.0))  # noqa: S311 - jitter, so that nodes do not dial at once
            pause_s = min(1.6 * pause_s, _LONGEST_PAUSE_S)
        raise wait.error()

    def _dial(self, wait: Wait) -> bool:
        """Serve one stream; return whether the run is finished. Why it is not is the wait's cause."""
        patience_s, began = min(_WELCOME_TIMEOUT_S, wait.left_s), time.monotonic()
        try:
            if self._serve_stream(patience_s):
                return True
            wait.cause = "the stream ended"
        except grpc.RpcError as error:
            if self._stream is not None or time.monotonic() - began < patience_s:
                wait.cause = channel.explain(error)  # else it was cut here, which says nothing
        except TimeoutError as error:
            wait.cause = str(error)
        except ProtocolError as error:
            # While a server is away, a balancer may connect its members to whatever else it serves.
            if not self.node_id or self._stream is not None:
                raise
            wait.cause = str(error)
        if self._stream is None:
            fault = tls_diagnosis.find_fault(self._options.address, self._options.own, self._options.proxy)
            wait.note_tls_fault(fault, is_member=bool(self.node_id))
        return False

    def _serve_stream(self, patience_s: float) -> bool:
        """Join and read until the stream ends; True once the run is finished.

        Raises:
            TimeoutError: nothing arrived for too long.
        """
        options, stream = self._options, _Stream(Silence(self._find_age))
        stream.outbox.put([self._hello()])
        credentials = options.own.for_node() if options.own else None
        with channel.dial(options.address, encode.FRAME_BYTES, options.proxy, credentials) as dialled:
            join: grpc.StreamStreamMultiCallable[bytes, bytes] = dialled.stream_stream(channel.METHOD)
            call = join(stream.frames())
            timer = channel.cancel_after(patience_s, call)
            watchdog = Watchdog(stream.silence, call.cancel)
            watchdog.start()
            try:
                return self._read(call, stream, timer)
            except grpc.RpcError:
                if not watchdog.has_barked:
                    raise
                raise TimeoutError(f"nothing arrived for {silence.LIMIT_S:g} s") from None
            finally:
                watchdog.stop()
                timer.cancel()
                stream.outbox.put(None)
                call.cancel()

    def _find_age(self, ages: silence.Ages) -> float:
        nearest = self._options.proxy or self._options.address
        return min((age for (_, port), age in ages.items() if port == nearest.port), default=math.inf)

    def _hello(self) -> bytes:
        hello = pb.Hello(
            version=__version__,
            name=self._name,
            is_name_given=self._options.is_name_given,
            instance=self._instance,
            max_model_bytes=self._options.max_model_bytes,
        )
        return pb.Frame(hello=hello).SerializeToString()

    def _read(self, call: channel.Call, stream: _Stream, timer: threading.Timer) -> bool:
        assembler = Assembler(self._options.max_model_bytes)
        for data in call:
            stream.silence.end()
            frame = encode.parse_frame(data)
            kind = frame.WhichOneof("kind")
            if kind == "alive":
                continue
            if kind == "welcome":
                timer.cancel()
                self._join(stream, frame.welcome)
            elif kind == "begin":
                assembler.begin(frame.begin)
            elif kind == "chunk":
                self._feed(assembler, frame.chunk)
            elif kind == "withdraw":
                self._inbox.withdraw(frame.withdraw.request_id)
                assembler.forget(frame.withdraw.request_id)
            elif kind == "goodbye":
                channel.let_end(call)
                control.read_goodbye(frame.goodbye)
                return True
            else:
                raise ProtocolError(f"the server sent a frame {kind}")
        return False

    def _feed(self, assembler: Assembler, chunk: bytes) -> None:
        # A method of its own, so that no local variable holds a request while the app works on it.
        request = assembler.feed(chunk)
        if request is not None:
            self._inbox.put(request)

    def _join(self, stream: _Stream, welcome: pb.Welcome) -> None:
        event("joined", address=self._options.address, node=welcome.name)
        if parsing.is_name(
            welcome.name, control.LONGEST_NAME
        ):  # its counter may have made it too long for a hello
            self._name = welcome.name
        with self._lock:
            self.node_id, self._server_takes = welcome.node_id, welcome.max_model_bytes
            self._stream = stream
            if self._ready:
                stream.outbox.put(self._ready)

    def _leave_stream(self) -> bool:
        self._inbox.forget()  # what is still waited for is asked again on the next stream
        with self._lock:
            was_joined, self._stream = self._stream is not None, None
            return was_joined
