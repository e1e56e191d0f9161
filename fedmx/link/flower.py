"""Every private name of Flower that fedmx uses, each with the upstream reason. flwr 1.42 is pinned for them.

Flower's app API has no extension point for a transport: only Flower's engines can create all of its messages.

Flower also keeps models in memory for longer than necessary. There are three remedies, each for one cause:

- `break_record_cycles`, here: each access to a message's array records creates a reference cycle, so that an
  update stays in memory until Python's collector runs. Every LinkGrid and NodeLink applies it to its process.
- `clear()` after each aggregation, in `server/aggregate.py`: the same cycles on Flower's own engines, where
  Flower's classes are left as they are.
- `gc.freeze()` at the start of `python -m server`: Flower's strategies call `gc.collect()` for every reply
  that they convert to numpy. Objects that exist since the imports are left out of it, which makes it cheap.
"""

import random
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

from flwr.app import Error, Message, Metadata, RecordDict

# The base of what Flower's strategies raise.
from flwr.app.exception import AppExitException

# RecordDict's views are instances of a private class, and `break_record_cycles` replaces a method of it.
from flwr.app.message import recorddict

# The constructor of Message that is documented makes a message from this process. One that was received has
# another source and an id of its own; Flower's own grids rebuild it with this function.
from flwr.app.message.message import make_message

# The type of Grid.run, in the signature of Grid's abstract methods.
from flwr.supercore.run import Run

# Message() reads the sender and the run from these process-wide attributes, and raises until they are set.
from flwr.supercore.task_identity import TaskIdentity

from fedmx.errors import FederationError

__all__ = ["AppExitException", "Run"]

# As in Flower's SuperLink.
SERVER_NODE_ID = 1
# The code of an error of fedmx is this plus its exit code; Flower's own codes are below.
ERROR_CODE_BASE = 100
# Values of Flower's ErrorCode, which no public module exports.
APP_RAISED = 2
# Unknown; message, reply or node unavailable; the app's process crashed.
_LOST = frozenset((0, 3, 4, 5, 8))
# The grid has deadlines of its own. A step that takes days must still be answerable.
_REQUEST_TTL_S = 30 * 24 * 3600.0
# A generator of its own, since strategies seed the module's. uuid4 asks the kernel, for which it releases the
# interpreter's lock, and then waits for it.
_random = random.Random()  # noqa: S311 - ids of messages, not secrets


@dataclass(frozen=True)
class Envelope:
    """What is on a message beside its content."""

    run_id: int
    message_type: str
    group_id: str
    node_id: int


@cache
def break_record_cycles() -> None:
    """Make Flower's messages release their arrays as soon as they are no longer used.

    In flwr 1.42 each access to `content.array_records` creates a view that holds a bound method of itself and
    refers to the content. Such a cycle keeps a model until Python's collector runs, which may be many rounds
    later. The method is replaced by one that refers to the view weakly.
    """
    view: Any = recorddict._SyncedDict  # noqa: SLF001 - the class of the view
    check = view.check_value

    def weak_check(self: object) -> Callable[[object], None]:
        alive = weakref.ref(self)
        return lambda value: check(alive(), value)

    view.check_value = property(weak_check)


def set_identity(run_id: int, node_id: int) -> None:
    """Set the identity of this process; without one, Flower creates no `Message`."""
    TaskIdentity.run_id = run_id
    TaskIdentity.node_id = node_id
    TaskIdentity.task_id = 0


def empty_run(run_id: int) -> Run:
    """Return what Flower wants a grid to know of its run."""
    return Run.create_empty(run_id)


def assign_id(message: Message) -> str:
    """Return the id of a message; a new message gets one.

    Metadata has no setter for it: the SuperLink assigns the ids of messages that travel through it, and
    Flower's own grids write the attribute in the same way.
    """
    if not message.metadata.message_id:
        message.metadata.__dict__["_message_id"] = _draw_id()
    return message.metadata.message_id


def _draw_id() -> str:
    return f"{_random.getrandbits(128):032x}"


def error_of(error: FederationError) -> Error:
    """Return the content of an error reply, whose code tells the other end the exit code."""
    return Error(ERROR_CODE_BASE + error.exit_code, str(error))


def may_differ(error: Error) -> bool:
    """Return whether another attempt may succeed: the request was lost, rather than worked on."""
    return error.code in _LOST


def rebuild_request(envelope: Envelope, content: RecordDict) -> Message:
    """Return the message that a node received from the server."""
    metadata = _metadata(envelope, SERVER_NODE_ID, envelope.node_id, reply_to="")
    return make_message(metadata=metadata, content=content)


def rebuild_reply(envelope: Envelope, reply_to: str, content: RecordDict | Error) -> Message:
    """Return the message that the server received from a node."""
    metadata = _metadata(envelope, envelope.node_id, SERVER_NODE_ID, reply_to=reply_to)
    if isinstance(content, Error):
        return make_message(metadata=metadata, error=content)
    return make_message(metadata=metadata, content=content)


def make_reply(node_id: int, message_type: str, group_id: str, content: RecordDict) -> Message:
    """Build a message like the one that the server received from a node, with another content."""
    envelope = Envelope(TaskIdentity.run_id or 0, message_type, group_id, node_id)
    return rebuild_reply(envelope, "", content)


def make_error_reply(node_id: int, reply: Message) -> Message:
    """Return an error that an engine replied with in place of a node, as if the node had sent it."""
    about = reply.metadata
    envelope = Envelope(about.run_id, about.message_type, about.group_id, node_id)
    return rebuild_reply(envelope, about.reply_to_message_id, reply.error)


def _metadata(envelope: Envelope, source: int, destination: int, *, reply_to: str) -> Metadata:
    metadata = Metadata(
        run_id=envelope.run_id,
        message_id=_draw_id(),
        src_node_id=source,
        dst_node_id=destination,
        reply_to_message_id=reply_to,
        group_id=envelope.group_id,
        created_at=time.time(),
        ttl=_REQUEST_TTL_S,
        message_type=envelope.message_type,
        src_task_id=0,
        dst_task_id=0,
    )
    metadata.delivered_at = ""
    return metadata
