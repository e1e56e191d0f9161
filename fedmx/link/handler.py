"""Turns a request into the reply of a node: the app's, or an error in its place."""

from collections.abc import Callable
from dataclasses import dataclass

from flwr.app import Array, Context, Error, Message, RecordDict
from flwr.clientapp import ClientApp

from fedmx import arrays
from fedmx.errors import FederationError, SettingsError, StopSignal
from fedmx.link.flower import APP_RAISED, Envelope, error_of, rebuild_request, set_identity
from fedmx.link.reply_cache import Reply, ReplyCache
from fedmx.log import logger, printable, warn
from fedmx.protocol import encode
from fedmx.protocol import link_pb2 as pb
from fedmx.protocol.control import Welcome
from fedmx.protocol.decode import Received


@dataclass(frozen=True)
class Exchange:
    """The size of a request and of the reply that was sent.

    Attributes:
        round: the round of the request; None if it belongs to none.
        bytes_down: bytes of the request.
        bytes_up: bytes of the reply.
    """

    round: int | None
    bytes_down: int
    bytes_up: int


def answer(app: ClientApp, request: Received, welcome: Welcome, cache: ReplyCache) -> tuple[Reply, bool]:
    """Return the reply to a request, and whether the app has computed it now.

    Args:
        app: answers requests whose replies are not cached.
        request: the request.
        welcome: of the server.
        cache: receives the reply, unless it is an error: if the server repeats the request, the app is called
            again.
    """
    reply = cache.find(request.request_id)
    if reply is not None:
        return reply, False
    cache.make_room(request.header)
    content = call_app(app, request, welcome.node_id)
    reply = encode_reply(request, content, welcome.max_model_bytes)
    if not isinstance(content, Error):
        cache.add(reply)
    return reply, True


def call_app(app: ClientApp, request: Received, node_id: int) -> RecordDict | Error:
    """Call the app with a request; whatever it raises becomes an error reply."""
    header = request.header
    if isinstance(request.content, Error):
        return Error(APP_RAISED, "a request that carries an error")
    set_identity(header.run_id, node_id)
    about = Envelope(header.run_id, header.message_type, header.group_id, node_id)
    context = Context(header.run_id, node_id, node_config={}, state=RecordDict(), run_config={})
    try:
        reply: object = app(rebuild_request(about, request.content), context)
    except FederationError as error:
        _warn(header, str(error))
        return error_of(error)
    except StopSignal:
        raise
    except BaseException as error:  # noqa: BLE001 - the app is the user's code: its failure is reported, and the node stays
        logger.exception("the app raised in step %s", printable(header.message_type))
        return Error(APP_RAISED, f"{type(error).__name__}: {error}")
    if not isinstance(reply, Message):
        return Error(APP_RAISED, f"the app returned {type(reply).__name__}, expected a Message")
    return reply.error if reply.has_error() else reply.content


def encode_reply(request: Received, content: RecordDict | Error, limit: int) -> Reply:
    """Encode a reply, or an error if the reply cannot be sent.

    Args:
        request: the request that is answered.
        content: the app's reply, or the error in its place.
        limit: the largest set of arrays, in bytes, that the server accepts.
    """
    header = pb.Header(
        request_id=request.request_id,
        message_type=request.header.message_type,
        group_id=request.header.group_id,
        run_id=request.header.run_id,
    )
    try:
        encoded = encode.NO_ARRAYS
        if not isinstance(content, Error):
            encoded = encode.encode_arrays(content, _find_unchanged(request.content))
        if encoded.size <= limit:
            message = encode.encode(header, content, encoded)
            return Reply(request.header, message, encoded.known, request.reply_waits)
        problem = error_of(
            SettingsError(f"MAX_MODEL_BYTES={limit} on the server: the arrays have {encoded.size} bytes")
        )
    except ValueError as error:
        problem = Error(APP_RAISED, f"a reply that cannot be sent: {error}")
    _warn(header, problem.reason or "")
    return encode_reply(request, problem, limit)


def _find_unchanged(request: RecordDict | Error) -> Callable[[str, Array], bytes]:
    """Return a function that returns an array's digest if the request has the same array."""
    sent: dict[str, Array] = {}
    if not isinstance(request, Error):
        for record in request.array_records.values():
            sent.update(record)

    def find_digest(name: str, array: Array) -> bytes:
        before = sent.get(name)
        if before is None or not arrays.are_equal(array, before):
            return b""
        return arrays.digest(before)

    return find_digest


def _warn(header: pb.Header, reason: str) -> None:
    number = int(header.group_id) if header.group_id.isdecimal() else None
    warn("request failed", round=number, step=header.message_type, reason=reason)
