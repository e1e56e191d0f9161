"""Target: frames through the codec and the assembler. They are read, or refused with a `ProtocolError`."""

# ruff: noqa: S101 - assert is how a target states a claim

from flwr.app import Error

from fedmx import arrays
from fedmx.errors import ProtocolError
from fedmx.protocol import encode
from fedmx.protocol import link_pb2 as pb
from fedmx.protocol.decode import Assembler, Received
from fuzz.script import Event, read_steps

MAX_MODEL_BYTES = 4 * 1024**3  # the default; the process may have far less
_LONGEST_REASON = 2_000


def run(data: bytes) -> None:
    """Read a script's frames one after the other, as one end of a stream does."""
    withdrawn: list[str] = []
    assembler = Assembler(MAX_MODEL_BYTES, lambda header: header.request_id not in withdrawn)
    try:
        for step in read_steps(data):
            if isinstance(step, Event):
                withdrawn.append("r")
                assembler.forget("r")
            else:
                _read(assembler, step)
    except ProtocolError as error:
        reason = str(error)
        assert reason.isprintable()
        assert len(reason) < _LONGEST_REASON


def _read(assembler: Assembler, data: bytes) -> None:
    frame = encode.parse_frame(data)
    kind = frame.WhichOneof("kind")
    if kind == "begin":
        assembler.begin(frame.begin, is_kept=frame.begin.header_bytes != 1)
    elif kind == "chunk" and (received := assembler.feed(frame.chunk)) is not None:
        _check(received)


def _check(received: Received) -> None:
    """Check that what was read can be used, and be sent on to the same effect."""
    content = received.content
    encoded = encode.NO_ARRAYS
    if not isinstance(content, Error):
        for record in content.array_records.values():
            for array in record.values():
                assert arrays.view(array).shape == array.shape
        encoded = encode.encode_arrays(content)
    header = pb.Header(request_id=received.request_id)
    again = Assembler(MAX_MODEL_BYTES)
    for data in encode.encode(header, content, encoded).frames():
        frame = encode.parse_frame(data)
        if frame.WhichOneof("kind") == "begin":
            again.begin(frame.begin)
        elif (copy := again.feed(frame.chunk)) is not None:
            assert repr(copy.content) == repr(content)  # as text, since NaN is not itself
            return
    raise AssertionError("what was read cannot be sent")
