"""The node's end of the link: serves one ClientApp over one stream, and comes back after a break.

The stream lives on a thread of its own, so that it stays joined while the app trains on the main thread.
"""

import logging
import queue
import random
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import grpc
from flwr.app import ConfigRecord, Context, Error, Message, RecordDict
from flwr.clientapp import ClientApp

from fedmx import __version__
from fedmx.errors import FederationError, ProtocolError, RefusedError, TrainingFailedError, UnreachableError
from fedmx.link import channel, codec
from fedmx.link import link_pb2 as pb
from fedmx.link.messages import Envelope, rebuild_request, set_identity
from fedmx.log import event, logger, warn
from fedmx.parsing import Address

_WELCOME_TIMEOUT_S = 10.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 2.0
ERROR_CODE_BASE = 100  # an error of fedmx: this plus its exit code; Flower's own codes are below
_APP_RAISED = 2  # Flower's ErrorCode.CLIENT_APP_RAISED_EXCEPTION


@dataclass(frozen=True)
class LinkOptions:
    """How to reach the server, and as whom.

    Attributes:
        name: this node's name, or the stem of one that the server makes unique.
        wait_timeout_s: how long the server may be away, at the start and after each break.
        proxy: an HTTP proxy to dial through; none by default, whatever the environment says.
        credentials: TLS; None is plain text.
    """

    address: Address
    name: str
    is_name_given: bool
    wait_timeout_s: float
    max_model_bytes: int
    proxy: str = ""
    credentials: grpc.ChannelCredentials | None = None


@dataclass
class _Stream:
    """One stream, while it lasts."""

    outbox: "queue.SimpleQueue[list[bytes] | None]" = field(default_factory=queue.SimpleQueue)

    def requests(self) -> Iterator[bytes]:
        while (frames := self.outbox.get()) is not None:
            yield from frames
            del frames  # a reply is a model: not kept while waiting for the next


class NodeLink:
    """A node's membership, from its first hello to the server's goodbye."""

    def __init__(self, options: LinkOptions) -> None:
        self._options = options
        self._instance = secrets.token_hex(16)
        self._inbox: queue.SimpleQueue[codec.Envelope | FederationError | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._stream: _Stream | None = None
        self._description: ConfigRecord | None = None
        self._working_on = ""
        self._last_reply: tuple[str, list[bytes]] = ("", [])
        self.node_id = 0

    def start(self) -> None:
        """Begin to dial; hello is said before the model and data are loaded."""
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
        """
        with self._lock:
            self._description = description
            if self._stream is not None:
                self._stream.outbox.put([_ready(description)])
        while (item := self._inbox.get()) is not None:
            if isinstance(item, FederationError):
                raise item
            self._answer(app, item)

    def _answer(self, app: ClientApp, request: codec.Envelope) -> None:
        request_id, frames = self._last_reply
        if request_id != request.request_id:
            content = _call(app, request, self.node_id)
            frames = _reply_frames(request, content)
        with self._lock:
            self._working_on = ""
            # An error is not kept: a request that is asked again after one is tried again.
            if request_id != request.request_id and not isinstance(content, Error):
                self._last_reply = (request.request_id, frames)
            if self._stream is not None:  # else the server asks again when the stream is back
                self._stream.outbox.put(frames)

    def _stay_joined(self) -> None:
        """Dial, serve the stream until it breaks, and dial again; every end goes to the inbox."""
        deadline, pause_s, last_error = self._deadline(), _FIRST_PAUSE_S, "no answer"
        try:
            while time.monotonic() < deadline:
                try:
                    if self._serve_stream():
                        self._inbox.put(None)
                        return
                    last_error = "the stream ended"
                except grpc.RpcError as error:
                    last_error = _explain(error)
                if self._leave_stream():
                    warn("lost the server, dialling again", address=self._options.address, cause=last_error)
                    deadline, pause_s = self._deadline(), _FIRST_PAUSE_S
                time.sleep(pause_s * random.uniform(0.5, 1.0))  # noqa: S311 - jitter, so that nodes do not dial at once
                pause_s = min(1.6 * pause_s, _LONGEST_PAUSE_S)
            self._inbox.put(
                UnreachableError(
                    f"SERVER_ADDRESS={self._options.address}: no server answered within"
                    f" {self._options.wait_timeout_s:g} s (SERVER_WAIT_TIMEOUT): {last_error}"
                )
            )
        except FederationError as error:
            self._inbox.put(error)
        except Exception as error:  # noqa: BLE001 - a bug in this thread must end the program, not hang it
            logger.exception("a bug in the link's thread")
            self._inbox.put(FederationError(f"the link's thread ended: {error}"))

    def _deadline(self) -> float:
        return time.monotonic() + self._options.wait_timeout_s

    def _serve_stream(self) -> bool:
        """Join and read until the stream ends; True once the run is finished."""
        stream = _Stream()
        with self._open_channel() as dialled:
            hello = pb.Hello(
                version=__version__,
                name=self._options.name,
                is_name_given=self._options.is_name_given,
                instance=self._instance,
            )
            stream.outbox.put([pb.Frame(hello=hello).SerializeToString()])
            call = dialled.stream_stream(channel.METHOD)(stream.requests())
            timer = threading.Timer(_WELCOME_TIMEOUT_S, call.cancel)
            timer.daemon = True
            timer.start()
            try:
                return self._read(call, stream, timer)
            finally:
                timer.cancel()
                stream.outbox.put(None)
                call.cancel()

    def _read(self, frames: Iterator[bytes], stream: _Stream, timer: threading.Timer) -> bool:
        assembler = codec.Assembler(self._options.max_model_bytes)
        for data in frames:
            frame = codec.parse_frame(data)
            kind = frame.WhichOneof("kind")
            if kind == "welcome":
                timer.cancel()
                self._join(stream, frame.welcome)
            elif kind == "begin":
                assembler.begin(frame.begin)
            elif kind == "chunk":
                if (envelope := assembler.feed(frame.chunk)) is not None:
                    self._accept(envelope)
            elif kind == "goodbye":
                return _is_finished(frame.goodbye)
            else:
                raise ProtocolError(f"the server sent a frame {kind}")
        return False

    def _join(self, stream: _Stream, welcome: pb.Welcome) -> None:
        event("joined", address=self._options.address, node=welcome.name)
        with self._lock:
            self.node_id, self._stream = welcome.node_id, stream
            if self._description is not None:
                stream.outbox.put([_ready(self._description)])

    def _leave_stream(self) -> bool:
        with self._lock:
            was_joined, self._stream = self._stream is not None, None
            return was_joined

    def _accept(self, request: codec.Envelope) -> None:
        """Hand a request to the main thread, unless that is working on it already."""
        with self._lock:
            if request.request_id == self._working_on:
                return
            self._working_on = request.request_id
        self._inbox.put(request)

    def _open_channel(self) -> grpc.Channel:
        options = [
            *channel.options(codec.FRAME_BYTES),
            ("grpc.enable_http_proxy", int(bool(self._options.proxy))),
        ]
        if self._options.proxy:
            options.append(("grpc.http_proxy", f"http://{self._options.proxy}"))
        if self._options.credentials is None:
            return grpc.insecure_channel(str(self._options.address), options)
        return grpc.secure_channel(str(self._options.address), self._options.credentials, options)


def _call(app: ClientApp, request: codec.Envelope, node_id: int) -> RecordDict | Error:
    """Have the app answer a request; whatever it raises becomes the error that the server is told."""
    header = request.header
    if isinstance(request.content, Error):
        return Error(_APP_RAISED, "a request that carries an error")
    set_identity(header.run_id, node_id)
    about = Envelope(header.run_id, header.message_type, header.group_id, node_id)
    context = Context(header.run_id, node_id, node_config={}, state=RecordDict(), run_config={})
    try:
        reply = app(rebuild_request(about, request.content), context)
    except FederationError as error:
        warn(str(error), round=header.group_id or None, step=header.message_type)
        return Error(ERROR_CODE_BASE + error.exit_code, str(error))
    except Exception as error:  # noqa: BLE001 - the app is the user's code: its failure is told, and the node lives on
        logger.exception("the app raised in step %s", header.message_type)
        return Error(_APP_RAISED, f"{type(error).__name__}: {error}")
    return reply.error if reply.has_error() else reply.content


def _reply_frames(request: codec.Envelope, content: RecordDict | Error) -> list[bytes]:
    header = pb.Header(
        request_id=request.request_id,
        message_type=request.header.message_type,
        group_id=request.header.group_id,
        run_id=request.header.run_id,
    )
    try:
        encoded = codec.NO_ARRAYS if isinstance(content, Error) else codec.encode_arrays(content)
        return list(codec.frames(codec.encode_header(header, content, encoded), encoded))
    except ValueError as error:
        logger.log(logging.WARNING, "a reply that cannot be sent: %s", error)
        return _reply_frames(request, Error(_APP_RAISED, f"a reply that cannot be sent: {error}"))


def _ready(description: ConfigRecord) -> bytes:
    record = codec.encode_record("description", description)
    return pb.Frame(ready=pb.Ready(description=record)).SerializeToString()


def _is_finished(goodbye: pb.Goodbye) -> bool:
    """Read the server's last word; raises what it means where it is not `finished`."""
    if goodbye.outcome == pb.Goodbye.FINISHED:
        return True
    if goodbye.outcome == pb.Goodbye.REFUSED:
        raise RefusedError(f"the server refused this node: {goodbye.reason}")
    raise TrainingFailedError(f"the server says that the run failed: {goodbye.reason}")


def _explain(error: grpc.RpcError) -> str:
    """Say why a dial failed, in gRPC's own words without their repetitions."""
    details: Callable[[], str | None] | None = getattr(error, "details", None)
    text = (details() if details else None) or str(error)
    return text.rpartition("last error: ")[2] or text
