"""The fuzzer's seeds: real frames, as both ends of the link build them."""

from pathlib import Path
from typing import Any

import numpy as np
from flwr.app import ConfigRecord, Error, MetricRecord, RecordDict
from numpy.typing import NDArray

from fedmx import arrays
from fedmx.protocol import control, encode
from fedmx.protocol import link_pb2 as pb
from fedmx.protocol.control import Hello, Welcome
from fuzz.script import BEGIN, CHUNK, EVENT, FRAME, HELLO, MESSAGE, READY, write_step
from fuzz.session import make_request

_NAMED: dict[str, NDArray[Any]] = {
    "a": np.arange(6, dtype=np.float32).reshape(2, 3),
    "b": np.zeros((0, 2), np.int8),
    "c": np.array(1.5),
}


def write_seeds(folder: Path) -> None:
    """Write the seeds of both targets; a session's begin with a byte more."""
    for number, script in enumerate(_make_scripts()):
        (folder / f"seed-{number:02}").write_bytes(script)
        for is_secure in range(2):
            (folder / f"seed-{number:02}-{is_secure}").write_bytes(bytes([is_secure]) + script)


def _make_scripts() -> list[bytes]:
    hello = Hello("raw", is_name_given=False, max_model_bytes=2**30, instance="0" * 32)
    named = Hello("raw", is_name_given=True, max_model_bytes=2**30, instance="1" * 32)
    description = ConfigRecord(
        {
            "task": "t",
            "arrays": ['["a", "float32", [2, 3], "trained"]'],
            "metrics": ["loss"],
            "train-metrics": ["loss"],
        }
    )
    ready = pb.Frame.FromString(control.build_ready(description)).ready
    join = _greet(hello) + write_step(READY, ready.description.SerializeToString())
    ask, withdraw, hang_up = (write_step(EVENT, bytes([event])) for event in range(3))
    replies = [_message(content) for content in _make_contents()]
    messages = [b"".join(write_step(FRAME, frame) for frame in reply.frames()) for reply in replies]
    headers = [write_step(MESSAGE, _header_of(reply)) for reply in replies]
    # A gibibyte, of which a mebibyte is sent.
    huge = pb.Array(name="a", dtype="float32", shape=[2**14, 2**14])
    header = pb.Header(
        request_id=make_request(3).request_id, array_records=[pb.ArrayRecord(name="r", arrays=[huge])]
    )
    headers.append(write_step(MESSAGE, header.SerializeToString()))
    again = _greet(named)
    return [
        *messages,
        *headers,
        *(join + ask + message for message in messages),
        *(join + ask + header + header for header in headers),
        join + ask + withdraw + headers[0] + hang_up + join + ask + headers[1],
        join + hang_up + again + hang_up + again + again,
        join + write_step(BEGIN, bytes([1] + [0] * 15)) + write_step(CHUNK, b"x"),
        write_step(FRAME, control.build_welcome(Welcome("raw", 2, 1)))
        + write_step(FRAME, control.build_withdraw("r")),
        write_step(FRAME, control.build_goodbye(pb.Goodbye.REFUSED, "why")),
        join + write_step(FRAME, control.ALIVE) * 20,
    ]


def _greet(hello: Hello) -> bytes:
    """Return the step of a hello, whose payload is the message inside its frame."""
    return write_step(HELLO, pb.Frame.FromString(control.build_hello(hello)).hello.SerializeToString())


def _make_contents() -> list[RecordDict | Error]:
    record = arrays.make_record({name: arrays.pack(values) for name, values in _NAMED.items()})
    metrics = MetricRecord({"loss": 0.5, "num-examples": 10, "losses": [0.5, 0.25], "counts": [1, 2]})
    config = ConfigRecord(
        {"yes": True, "text": "x", "raw": b"\xff", "flags": [True], "texts": ["a", "b"], "octets": [b"c"]}
    )
    return [
        RecordDict({"arrays": record, "metrics": metrics}),
        RecordDict({"metrics": metrics, "config": config}),
        RecordDict(),
        Error(102, "no data"),
    ]


def _message(content: RecordDict | Error) -> encode.EncodedMessage:
    encoded = encode.NO_ARRAYS if isinstance(content, Error) else encode.encode_arrays(content)
    request_id = make_request(2).request_id
    return encode.encode(pb.Header(request_id=request_id, message_type="train"), content, encoded)


def _header_of(message: encode.EncodedMessage) -> bytes:
    return message.header
