"""Every frame beside requests and replies, from hello to goodbye, is built and parsed here."""

import secrets
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from flwr.app import ConfigRecord

from fedmx import __version__, parsing
from fedmx.errors import ProtocolError, RefusedError, SettingsError, TrainingFailedError
from fedmx.log import printable
from fedmx.protocol import link_pb2 as pb
from fedmx.protocol.encode import FRAME_BYTES
from fedmx.protocol.records import (
    DIGEST_BYTES,
    MAX_ARRAYS,
    decode_config,
    encode_record,
    find_problem_in_records,
)

# What both ends must have in common. Raise it whenever an end of the previous version would misunderstand an
# end of this one: a field of link.proto that changed its meaning or has to be understood, another order of
# frames, another request digest, another name or meaning of an entry that the programs exchange in records.
# (A new hyperparameter is one: a client that does not know it would train without it.) A new field that the
# other end may ignore does not need a new version, nor does a release of the package.
PROTOCOL_VERSION = 4

# A granted name is longer than NODE_NAME: the site precedes it and a counter may follow.
LONGEST_NAME = 128
MAX_HELLO_BYTES = 1024
_LONGEST_INSTANCE = 64
_LONGEST_VERSION = 40
LONGEST_DEVICE = 64
# That a node has: one at work, some that wait, and a few whose replies are cached.
_MOST_REQUESTS = 64

ALIVE = pb.Frame(alive=pb.Alive()).SerializeToString()
GO = pb.Frame(go=pb.Go()).SerializeToString()


@dataclass(frozen=True)
class Hello:
    """A node's first frame. Each attribute is a field of the same name in link.proto's `Hello`.

    Attributes:
        name: the node's name, or the stem of one that the server makes unique.
        is_name_given: whether the name was set by NODE_NAME, so that the server may not add a counter.
        max_model_bytes: the largest set of arrays that the node accepts.
        instance: a random token that tells a node that reconnects from another node of the same name.
        protocol_version: has to be the server's.
        package_version: the node's version of fedmx, for the server's log.
    """

    name: str
    is_name_given: bool
    max_model_bytes: int
    instance: str = field(default_factory=lambda: secrets.token_hex(16))
    protocol_version: int = PROTOCOL_VERSION
    package_version: str = __version__

    def log_fields(self) -> dict[str, Any]:
        """Return what the server logs about a node beside its name."""
        return {"version": self.package_version}


def build_hello(hello: Hello) -> bytes:
    """Build the frame with which a node joins."""
    return pb.Frame(hello=pb.Hello(**asdict(hello))).SerializeToString()


def parse_hello(frame: pb.Frame | None) -> Hello:
    """Parse a node's first frame.

    Args:
        frame: None if the stream ended before one arrived.

    Raises:
        ProtocolError: it is not a hello, or has no instance token.
        RefusedError: the node speaks another protocol version, or its name is invalid.
    """
    if frame is None or frame.WhichOneof("kind") != "hello":
        raise ProtocolError("the first frame is not a hello")
    hello = Hello(**{each.name: getattr(frame.hello, each.name) for each in fields(Hello)})
    if hello.protocol_version != PROTOCOL_VERSION:
        raise RefusedError(
            f"client protocol version {hello.protocol_version}"
            f" (fedmx {printable(hello.package_version, _LONGEST_VERSION)}), server protocol version"
            f" {PROTOCOL_VERSION} (fedmx {__version__}): expected the same protocol version on both sides"
        )
    if not 0 < len(hello.instance) <= _LONGEST_INSTANCE:
        raise ProtocolError("a hello without an instance token")
    check_name(hello.name)
    return hello


def check_name(name: str) -> None:
    """Check that a node's name can be logged and used as a key.

    Raises:
        RefusedError: the name is invalid.
    """
    if not parsing.is_name(name, LONGEST_NAME):
        raise RefusedError(
            f"node name {printable(name, 80)!r}: expected at most {LONGEST_NAME} letters, digits, '.', '_' or"
            " '-'"
        )


@dataclass(frozen=True)
class Welcome:
    """The server's answer to a hello.

    Attributes:
        name: the node's name in this federation.
        node_id: its id in this federation.
        max_model_bytes: the largest set of arrays that the server accepts.
        task_options: TASK_OPTIONS, a JSON object on which the node's model depends.
    """

    name: str
    node_id: int
    max_model_bytes: int
    task_options: str = "{}"


def build_welcome(welcome: Welcome) -> bytes:
    """Build the answer to a hello."""
    return pb.Frame(welcome=pb.Welcome(**asdict(welcome))).SerializeToString()


def parse_welcome(message: pb.Welcome) -> Welcome:
    """Parse the answer to a hello."""
    return Welcome(**{each.name: getattr(message, each.name) for each in fields(Welcome)})


@dataclass(frozen=True)
class Ready:
    """A node that can work.

    Attributes:
        description: what must agree between nodes.
        device: what it trains on; empty if that is unknown.
    """

    description: ConfigRecord
    device: str = ""


def build_ready(description: ConfigRecord, device: str = "") -> bytes:
    """Build the frame with which a node reports that it can work.

    Args:
        description: what must agree between nodes.
        device: what it trains on; a longer text is shortened.

    Raises:
        SettingsError: the description is beyond the limits: the model has many thousands of arrays.
    """
    record = encode_record("description", description)
    if problem := find_problem_in_records([record]):
        raise SettingsError(f"the model's description has {problem}")
    ready = pb.Ready(description=record, device=printable(device, LONGEST_DEVICE))
    frame = pb.Frame(ready=ready).SerializeToString()
    if len(frame) > FRAME_BYTES:
        raise SettingsError(f"the model's description has {len(frame)} bytes; expected at most {FRAME_BYTES}")
    return frame


def parse_ready(message: pb.Ready) -> Ready:
    """Parse the report of a node that can work.

    Raises:
        ProtocolError: its description is not a config record or beyond the limits, or its device is too
            long or not printable.
    """
    if problem := find_problem_in_records([message.description]):
        raise ProtocolError(f"a description with {problem}")
    device = message.device
    if len(device) > LONGEST_DEVICE or not device.isprintable():
        raise ProtocolError(
            f"device {printable(device, LONGEST_DEVICE)!r}: expected at most {LONGEST_DEVICE} printable"
            " characters"
        )
    return Ready(decode_config(message.description), device)


@dataclass(frozen=True)
class Holding:
    """What a node has from an earlier stream, so that it is not sent again.

    Attributes:
        run_id: the run that it belongs to.
        request_ids: the requests that it works on, is going to work on, or has a reply to.
        digests: of the arrays of the newest message that it received, and of a newer one whose stream broke.
    """

    run_id: int = 0
    request_ids: frozenset[str] = frozenset()
    digests: frozenset[bytes] = frozenset()


def build_holding(holding: Holding) -> bytes:
    """Build the frame with which a node reports what it has."""
    message = pb.Holding(
        run_id=holding.run_id,
        request_ids=sorted(holding.request_ids),
        digests=sorted(holding.digests)[:MAX_ARRAYS],
    )
    return pb.Frame(holding=message).SerializeToString()


def parse_holding(message: pb.Holding) -> Holding:
    """Parse the report of what a node has.

    Raises:
        ProtocolError: it is more than a node can have.
    """
    digests, request_ids = frozenset(message.digests), frozenset(message.request_ids)
    if len(digests) > MAX_ARRAYS or any(len(digest) != DIGEST_BYTES for digest in digests):
        raise ProtocolError(f"expected at most {MAX_ARRAYS} digests of {DIGEST_BYTES} bytes")
    if len(request_ids) > _MOST_REQUESTS or any(len(each) > LONGEST_NAME for each in request_ids):
        raise ProtocolError(f"expected at most {_MOST_REQUESTS} ids of requests")
    return Holding(message.run_id, request_ids, digests)


def build_repeat(request_id: str) -> bytes:
    """Build the notice that a request, which the node has, is still awaited."""
    return pb.Frame(repeat=pb.Repeat(request_id=request_id)).SerializeToString()


def build_missing(request_id: str, places: Iterable[int]) -> bytes:
    """Build the demand to send a message again.

    Args:
        request_id: the digest of the request that the message is, or answers.
        places: of the arrays that may not be left out of it.
    """
    return pb.Frame(missing=pb.Missing(request_id=request_id, arrays=places)).SerializeToString()


def build_withdraw(request_id: str) -> bytes:
    """Build the notice that a request is no longer awaited, or that the rest of a message is not sent."""
    return pb.Frame(withdraw=pb.Withdraw(request_id=request_id)).SerializeToString()


def build_goodbye(outcome: "pb.Goodbye.Outcome", reason: str, result: str = "") -> bytes:
    """Build the server's final frame.

    Args:
        outcome: of the run, or of this node.
        reason: of a failure or a refusal.
        result: the federation's result of the last round, in JSON.
    """
    goodbye = pb.Goodbye(outcome=outcome, reason=printable(reason), result=result)
    return pb.Frame(goodbye=goodbye).SerializeToString()


def check_goodbye(message: pb.Goodbye) -> None:
    """Return if the run is finished.

    Raises:
        RefusedError: the server refused this node.
        TrainingFailedError: the run failed.
    """
    if message.outcome == pb.Goodbye.REFUSED:
        raise RefusedError(f"the server refused this node: {printable(message.reason)}")
    if message.outcome != pb.Goodbye.FINISHED:
        raise TrainingFailedError(f"the server reports that the run failed: {printable(message.reason)}")
