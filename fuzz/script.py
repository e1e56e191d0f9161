"""Turns the fuzzer's bytes into frames: a list of steps, most of which are almost valid.

A step is a byte for its kind, two for a length, and that many bytes. Purely random frames would hardly ever
form a message whose header agrees with its announcement.
"""

import contextlib
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from fedmx import arrays
from fedmx.errors import ProtocolError
from fedmx.protocol import encode
from fedmx.protocol import link_pb2 as pb

FRAME, MESSAGE, BEGIN, CHUNK, READY, HELLO, EVENT = KINDS = range(7)
_HEAD = struct.Struct("<BH")
_SIZES = struct.Struct("<QQ")
# The largest arrays that are sent whole; of larger ones a single chunk is sent.
_MOST_FILLED = 2**16


@dataclass(frozen=True)
class Event:
    """An event at the server between two frames; the target defines it."""

    number: int


def write_step(kind: int, payload: bytes) -> bytes:
    """Encode a step."""
    return _HEAD.pack(kind, len(payload)) + payload


def read_steps(script: bytes) -> Iterator[bytes | Event]:
    """Yield the frames of a script, serialized, and the events among them."""
    at = 0
    while at + _HEAD.size <= len(script):
        kind, length = _HEAD.unpack_from(script, at)
        at += _HEAD.size
        payload = script[at : at + length]
        at += length
        yield from _act(kind % len(KINDS), payload)


def _act(kind: int, payload: bytes) -> Iterator[bytes | Event]:
    if kind == FRAME:
        yield payload
    elif kind == MESSAGE:
        yield from _send(payload)
    elif kind == BEGIN:
        header_bytes, array_bytes = _SIZES.unpack(payload[: _SIZES.size].ljust(_SIZES.size, b"\0"))
        yield _frame(begin=pb.Begin(header_bytes=header_bytes, array_bytes=array_bytes))
    elif kind == CHUNK:
        yield _frame(chunk=payload)
    elif kind == EVENT:
        yield Event(payload[0] if payload else 0)
    else:
        # Field 1 of `Ready` is its description; a hello is the payload itself.
        yield (
            b"\x1a" + _delimit(b"\x0a" + _delimit(payload)) if kind == READY else b"\x0a" + _delimit(payload)
        )


def _send(header: bytes) -> Iterator[bytes]:
    """Yield the frames of a header, and of arrays of zeros as it declares them."""
    size = 0
    with contextlib.suppress(ProtocolError, ValueError):
        for record in encode.parse(pb.Header, header).array_records:
            size += sum(arrays.byte_count(head.dtype, tuple(head.shape)) for head in record.arrays)
    yield _frame(begin=pb.Begin(header_bytes=len(header), array_bytes=min(size, 2**64 - 1)))
    yield _frame(chunk=header)
    first, rest = divmod(size, encode.CHUNK_BYTES)
    if first:
        yield _frame(chunk=bytes(encode.CHUNK_BYTES))
    elif 0 < rest <= _MOST_FILLED:
        yield _frame(chunk=bytes(rest))


def _frame(*, begin: pb.Begin | None = None, chunk: bytes | None = None) -> bytes:
    return pb.Frame(begin=begin, chunk=chunk).SerializeToString()


def _delimit(data: bytes) -> bytes:
    """Prefix data with its length, as protobuf does."""
    length = b""
    left = len(data)
    while left > 0x7F:  # noqa: PLR2004 - seven bits per byte
        length += bytes([left & 0x7F | 0x80])
        left >>= 7
    return length + bytes([left]) + data
