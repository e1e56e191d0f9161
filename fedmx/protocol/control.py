"""What is said on a stream beside requests and replies: made, and read, here."""

from flwr.app import ConfigRecord

from fedmx import __version__, parsing
from fedmx.errors import ProtocolError, RefusedError, SettingsError, TrainingFailedError
from fedmx.log import printable
from fedmx.protocol import link_pb2 as pb
from fedmx.protocol.encode import FRAME_BYTES
from fedmx.protocol.records import decode_config, encode_record, find_fault_of_records

LONGEST_NAME = 128  # a granted name is longer than NODE_NAME: its site before it, a counter behind
MAX_HELLO_BYTES = 1024  # of its frame
_MAX_INSTANCE_LENGTH = 64

ALIVE = pb.Frame(alive=pb.Alive()).SerializeToString()


def check_hello(hello: pb.Hello) -> None:
    """Check what a node says first.

    Raises:
        RefusedError: its version differs, or its name may not stand in a log.
        ProtocolError: it has no instance token.
    """
    if hello.version != __version__:
        raise RefusedError(
            f"client fedmx {printable(hello.version, 40)}, server fedmx {__version__}:"
            " expected the same version on both sides"
        )
    if not 0 < len(hello.instance) <= _MAX_INSTANCE_LENGTH:
        raise ProtocolError("a hello without an instance token")
    check_name(hello.name)


def check_name(name: str) -> None:
    """Check the name that a node would have.

    Raises:
        RefusedError: it may not stand in a log.
    """
    if not parsing.is_name(name, LONGEST_NAME):
        raise RefusedError(
            f"node name {printable(name, 80)!r}: expected at most {LONGEST_NAME} letters, digits, '.', '_' or"
            " '-'"
        )


def welcome(name: str, node_id: int, max_model_bytes: int) -> bytes:
    """Say who a node is in this federation, and the largest set of arrays that the server takes."""
    message = pb.Welcome(name=name, node_id=node_id, max_model_bytes=max_model_bytes)
    return pb.Frame(welcome=message).SerializeToString()


def ready(description: ConfigRecord) -> bytes:
    """Say that a node can work, and what must agree between nodes.

    Raises:
        SettingsError: the description is beyond the limits: of a model with many thousands of arrays.
    """
    record = encode_record("description", description)
    if fault := find_fault_of_records([record]):
        raise SettingsError(f"the model's description has {fault}")
    frame = pb.Frame(ready=pb.Ready(description=record)).SerializeToString()
    if len(frame) > FRAME_BYTES:
        raise SettingsError(f"the model's description has {len(frame)} bytes; expected at most {FRAME_BYTES}")
    return frame


def read_ready(said: pb.Ready) -> ConfigRecord:
    """Take a node's description.

    Raises:
        ProtocolError: it is none, or beyond the limits.
    """
    if fault := find_fault_of_records([said.description]):
        raise ProtocolError(f"a description with {fault}")
    return decode_config(said.description)


def withdraw(request_id: str) -> bytes:
    """Say that nobody waits for a request any more."""
    return pb.Frame(withdraw=pb.Withdraw(request_id=request_id)).SerializeToString()


def goodbye(outcome: "pb.Goodbye.Outcome", reason: str) -> bytes:
    """Say the server's last word."""
    return pb.Frame(goodbye=pb.Goodbye(outcome=outcome, reason=printable(reason))).SerializeToString()


def read_goodbye(said: pb.Goodbye) -> None:
    """Take the server's last word.

    Raises:
        RefusedError: the server does not take this node.
        TrainingFailedError: the run did not finish.
    """
    if said.outcome == pb.Goodbye.REFUSED:
        raise RefusedError(f"the server refused this node: {printable(said.reason)}")
    if said.outcome != pb.Goodbye.FINISHED:
        raise TrainingFailedError(f"the server says that the run failed: {printable(said.reason)}")
