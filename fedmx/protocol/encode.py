"""Encodes Flower records into frames of at most 1 MiB.

A message is a header (everything but the arrays) and the arrays' raw bytes. Arrays are encoded apart from the
header, so that one encoding serves every node of a broadcast. `decode` is the way back.
"""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from flwr.app import Error, RecordDict
from google.protobuf.message import DecodeError

from fedmx import arrays
from fedmx.errors import ProtocolError
from fedmx.log import printable
from fedmx.protocol import link_pb2 as pb
from fedmx.protocol.records import encode_record, find_problem

FRAME_BYTES = 1024 * 1024
# To parse a header of empty entries, protobuf needs thirty times its size.
MAX_HEADER_BYTES = 4 * 1024 * 1024
# Leaves room for the frame's own fields.
CHUNK_BYTES = FRAME_BYTES - 64


@dataclass(frozen=True)
class EncodedArrays:
    """The arrays of a message as frames, ready for any number of streams."""

    records: list[pb.ArrayRecord]
    frames: list[bytes] = field(repr=False)
    size: int
    digest: bytes


NO_ARRAYS = EncodedArrays([], [], 0, b"")


@dataclass(frozen=True)
class EncodedMessage:
    """A message as frames; the arrays' are shared with every message that carries them."""

    request_id: str
    head_frames: list[bytes] = field(repr=False)
    arrays: EncodedArrays

    def frames(self) -> Iterator[bytes]:
        """Yield the frames, serialized, in order."""
        yield from self.head_frames
        yield from self.arrays.frames


def encode_arrays(content: RecordDict) -> EncodedArrays:
    """Encode all arrays of a message.

    Raises:
        ValueError: an array is not a numpy array of numbers.
    """
    records = []
    views = []
    digest = hashlib.sha256()
    for record_name, record in content.array_records.items():
        heads = []
        for name, array in record.items():
            values = arrays.view(array)
            raw = arrays.raw_bytes(array)
            digest.update(raw)
            views.append(raw)
            heads.append(pb.Array(name=name, dtype=values.dtype.name, shape=values.shape))
        records.append(pb.ArrayRecord(name=record_name, arrays=heads))
    frames = [pb.Frame(chunk=chunk).SerializeToString() for chunk in _cut(views)]
    return EncodedArrays(records, frames, sum(map(len, views)), digest.digest())


def encode(header: pb.Header, content: RecordDict | Error, encoded: EncodedArrays) -> EncodedMessage:
    """Encode a message.

    Args:
        header: everything but the content; if it has no request id yet, it gets the request's digest.
        content: the records, or an error in their place.
        encoded: the records' arrays.

    Raises:
        ValueError: a record cannot be sent, or is beyond the limits of the other end.
    """
    if isinstance(content, Error):
        header.error.code = content.code
        header.error.reason = printable(content.reason or "")
    else:
        header.array_records.extend(encoded.records)
        header.metric_records.extend(encode_record(n, r) for n, r in content.metric_records.items())
        header.config_records.extend(encode_record(n, r) for n, r in content.config_records.items())
    if problem := find_problem(header):
        raise ValueError(problem)
    if not header.request_id:
        identity = hashlib.sha256(header.SerializeToString(deterministic=True) + encoded.digest)
        header.request_id = identity.hexdigest()
    data = header.SerializeToString()
    if len(data) > MAX_HEADER_BYTES:
        raise ValueError(f"records of {len(data)} bytes beside the arrays; at most {MAX_HEADER_BYTES}")
    begin = pb.Frame(begin=pb.Begin(header_bytes=len(data), array_bytes=encoded.size))
    chunks = (pb.Frame(chunk=chunk) for chunk in _cut([memoryview(data)]))
    head_frames = [frame.SerializeToString() for frame in (begin, *chunks)]
    return EncodedMessage(header.request_id, head_frames, encoded)


def parse_frame(data: bytes) -> pb.Frame:
    """Parse a frame.

    Raises:
        ProtocolError: the bytes are not a frame, or the frame is empty.
    """
    frame: pb.Frame = parse(pb.Frame, data)
    if frame.WhichOneof("kind") is None:
        raise ProtocolError("a frame of unknown kind")
    return frame


def parse(kind: Any, data: bytes) -> Any:
    """Parse a protobuf message.

    Raises:
        ProtocolError: the bytes are not such a message.
    """
    try:
        return kind.FromString(data)
    except DecodeError:
        raise ProtocolError(f"bytes that are not a {kind.DESCRIPTOR.name}") from None


def _cut(views: Iterable[memoryview]) -> Iterator[bytes]:
    """Yield the views' bytes, joined end to end, in chunks."""
    pending: list[memoryview] = []
    room = CHUNK_BYTES
    for view in views:
        start = 0
        while start < len(view):
            taken = view[start : start + room]
            pending.append(taken)
            room -= len(taken)
            start += len(taken)
            if not room:
                yield b"".join(pending)
                pending = []
                room = CHUNK_BYTES
    if pending:
        yield b"".join(pending)
