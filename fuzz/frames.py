"""Target: frames through the decoder. They are decoded, or refused with a `ProtocolError`."""

# ruff: noqa: S101 - assert is how a target states a claim

import numpy as np
from flwr.app import Error

from fedmx import arrays
from fedmx.array_store import ArrayStore
from fedmx.errors import ProtocolError
from fedmx.protocol import encode
from fedmx.protocol import link_pb2 as pb
from fedmx.protocol.decode import Assembler, Lacking, Received
from fuzz.script import Event, read_steps

# The default of the setting; the process may use far less memory.
MAX_MODEL_BYTES = 4 * 1024**3
_LONGEST_REASON = 2_000
# What a message may leave out.
_HELD = arrays.pack(np.arange(6, dtype=np.float32).reshape(2, 3))


def run(data: bytes) -> None:
    """Decode a script's frames one after the other, as either end of a stream does."""
    withdrawn: list[str] = []
    assembler = Assembler(
        MAX_MODEL_BYTES,
        ArrayStore().open,
        lambda header, _: header.request_id not in withdrawn,
        lambda header, digest: _HELD if header.run_id and digest[:1] == b"h" else None,
    )
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
    result: Received | Lacking | None = None
    if (chunk := encode.read_chunk(data)) is not None:
        result = assembler.feed(chunk)
    elif (frame := encode.parse_frame(data)).HasField("begin"):
        result = assembler.begin(frame.begin, is_kept=frame.begin.header_bytes != 1)
    if isinstance(result, Received):
        _check(result)


def _check(received: Received) -> None:
    """Check that a decoded message can be used, and encoded again to the same effect."""
    content = received.content
    encoded = encode.NO_ARRAYS
    if not isinstance(content, Error):
        for record in content.array_records.values():
            for array in record.values():
                assert arrays.view(array).shape == array.shape
        encoded = encode.encode_arrays(content)
    header = pb.Header(request_id=received.request_id)
    again = Assembler(MAX_MODEL_BYTES, ArrayStore().open)
    for data in encode.encode(header, content, encoded).frames():
        chunk = encode.read_chunk(data)
        copy = again.begin(encode.parse_frame(data).begin) if chunk is None else again.feed(chunk)
        if isinstance(copy, Received):
            # Compared as text, because NaN does not equal itself.
            assert repr(copy.content) == repr(content)
            return
    raise AssertionError("a message that was decoded cannot be encoded")
