"""The few private names of Flower that a transport must touch, all of them.

Flower makes messages for its own engines: who sends is process-wide state, an id is given by the SuperLink, a
received message is rebuilt by an internal function. flwr 1.42 has no public way for any of the three, nor to
make records let go of their arrays.
"""

import uuid
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

from flwr.app import Error, Message, Metadata, RecordDict
from flwr.app.message import recorddict
from flwr.app.message.message import make_message
from flwr.supercore.date import now
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity

from fedmx.errors import FederationError

__all__ = ["Run"]  # the type in a grid's signature, which flwr has in a private module

SERVER_NODE_ID = 1  # Flower's SuperLink uses the same
ERROR_CODE_BASE = 100  # an error of fedmx: this plus its exit code; Flower's own codes are below
APP_RAISED = 2  # Flower's ErrorCode.CLIENT_APP_RAISED_EXCEPTION
# Flower's ErrorCode: unknown; message, reply or node unavailable; the app's process crashed.
_LOST = frozenset((0, 3, 4, 5, 8))
_REQUEST_TTL_S = 30 * 24 * 3600.0  # deadlines are the grid's; a step of days must still be answerable


@dataclass(frozen=True)
class Envelope:
    """What is on a message, beside its content."""

    run_id: int
    message_type: str
    group_id: str
    node_id: int


@cache
def break_record_cycles() -> None:
    """Let go of models at once, once nobody uses them.

    In flwr 1.42 each look at `content.array_records` makes a view that refers to itself and to the content.
    Such a cycle keeps a model until Python's collector comes by, which may be many rounds later.
    """
    view: Any = recorddict._SyncedDict  # noqa: SLF001 - the class of the view
    check = view.check_value

    def weak_check(self: object) -> Callable[[object], None]:
        alive = weakref.ref(self)
        return lambda value: check(alive(), value)

    view.check_value = property(weak_check)


def set_identity(run_id: int, node_id: int) -> None:
    """Say who this process is; before that, no `Message` can be made in it."""
    TaskIdentity.run_id = run_id
    TaskIdentity.node_id = node_id
    TaskIdentity.task_id = 0


def empty_run(run_id: int) -> Run:
    """Make what Flower wants a grid to know of its run."""
    return Run.create_empty(run_id)


def give_id(message: Message) -> str:
    """Give a new message its id, once, and return it."""
    if not message.metadata.message_id:
        message.metadata.__dict__["_message_id"] = uuid.uuid4().hex
    return message.metadata.message_id


def error_of(error: FederationError) -> Error:
    """Make the content of an error reply, from which the other side can tell the exit code."""
    return Error(ERROR_CODE_BASE + error.exit_code, str(error))


def may_differ(error: Error) -> bool:
    """Whether the same request may be answered another time: it was lost, rather than worked on."""
    return error.code in _LOST


def rebuild_request(envelope: Envelope, content: RecordDict) -> Message:
    """Make the message a node received from the server."""
    metadata = _metadata(envelope, SERVER_NODE_ID, envelope.node_id, reply_to="")
    return make_message(metadata=metadata, content=content)


def rebuild_reply(envelope: Envelope, reply_to: str, content: RecordDict | Error) -> Message:
    """Make the message the server received from a node."""
    metadata = _metadata(envelope, envelope.node_id, SERVER_NODE_ID, reply_to=reply_to)
    if isinstance(content, Error):
        return make_message(metadata=metadata, error=content)
    return make_message(metadata=metadata, content=content)


def with_content(message: Message, content: RecordDict) -> Message:
    """Make the same message with another content."""
    return make_message(metadata=message.metadata, content=content)


def _metadata(envelope: Envelope, source: int, destination: int, *, reply_to: str) -> Metadata:
    metadata = Metadata(
        run_id=envelope.run_id,
        message_id=uuid.uuid4().hex,
        src_node_id=source,
        dst_node_id=destination,
        reply_to_message_id=reply_to,
        group_id=envelope.group_id,
        created_at=now().timestamp(),
        ttl=_REQUEST_TTL_S,
        message_type=envelope.message_type,
        src_task_id=0,
        dst_task_id=0,
    )
    metadata.delivered_at = ""
    return metadata
