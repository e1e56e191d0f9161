"""Flower records <-> frames of at most 1 MiB. Knows the wire format, and nothing about streams.

A message is a header (everything but the arrays) and the arrays' raw bytes. Arrays are encoded apart from the
header, so that one encoding serves every node of a broadcast. What is received is believed only within limits:
nothing is allocated before the declared sizes passed them.
"""

import hashlib
import io
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Error, MetricRecord, RecordDict
from google.protobuf.message import DecodeError

from fedmx import arrays
from fedmx.errors import ProtocolError
from fedmx.link import link_pb2 as pb

FRAME_BYTES = 1024 * 1024
_CHUNK_BYTES = FRAME_BYTES - 64  # leaves room for the frame's own fields
MAX_HEADER_BYTES = 16 * 1024 * 1024
_MAX_DIMENSIONS = 32  # numpy's own limit

# Python type -> (field of Entry, whether the field holds a message with `items`), tried in this order: a bool is
# an int to Python.
_SCALARS = ((bool, "boolean"), (int, "integer"), (float, "real"), (str, "text"), (bytes, "octets"))
_LISTS = {
    "boolean": "booleans",
    "integer": "integers",
    "real": "reals",
    "text": "texts",
    "octets": "octets_list",
}


@dataclass(frozen=True)
class EncodedArrays:
    """The arrays of a message as frames, ready for any number of streams."""

    records: list[pb.ArrayRecord]
    frames: list[bytes] = field(repr=False)
    size: int
    digest: bytes


@dataclass(frozen=True)
class Envelope:
    """A message as it travels: who it is for and what it answers are known to the stream alone."""

    header: pb.Header
    content: RecordDict | Error

    @property
    def request_id(self) -> str:
        """The digest that names the request this is, or answers."""
        return self.header.request_id


def encode_arrays(content: RecordDict) -> EncodedArrays:
    """Encode all arrays of a message.

    Raises:
        ValueError: an array is not a numpy array of numbers.
    """
    records, views = [], []
    digest = hashlib.sha256()
    for record_name, record in content.array_records.items():
        heads = []
        for name, array in record.items():
            raw = arrays.raw_bytes(array)
            digest.update(raw)
            views.append(raw)
            values = arrays.view(array)
            heads.append(pb.Array(name=name, dtype=values.dtype.name, shape=values.shape))
        records.append(pb.ArrayRecord(name=record_name, arrays=heads))
    frames = [pb.Frame(chunk=chunk).SerializeToString() for chunk in _cut(views)]
    return EncodedArrays(records, frames, sum(map(len, views)), digest.digest())


def encode_header(header: pb.Header, content: RecordDict | Error, encoded: EncodedArrays) -> pb.Header:
    """Complete a header: the records, and for a request the digest that identifies it."""
    if isinstance(content, Error):
        header.error.code, header.error.reason = content.code, content.reason or ""
    else:
        header.array_records.extend(encoded.records)
        header.metric_records.extend(encode_record(n, r) for n, r in content.metric_records.items())
        header.config_records.extend(encode_record(n, r) for n, r in content.config_records.items())
    if not header.request_id:
        identity = hashlib.sha256(header.SerializeToString(deterministic=True) + encoded.digest)
        header.request_id = identity.hexdigest()
    return header


def frames(header: pb.Header, encoded: EncodedArrays) -> Iterator[bytes]:
    """Give a message's frames, serialized, in order."""
    data = header.SerializeToString()
    if len(data) > MAX_HEADER_BYTES:
        raise ValueError(f"records of {len(data)} bytes beside the arrays; at most {MAX_HEADER_BYTES}")
    begin = pb.Begin(header_bytes=len(data), array_bytes=encoded.size)
    yield pb.Frame(begin=begin).SerializeToString()
    for chunk in _cut([memoryview(data)]):
        yield pb.Frame(chunk=chunk).SerializeToString()
    yield from encoded.frames


NO_ARRAYS = EncodedArrays([], [], 0, b"")


class Assembler:
    """Puts one stream's chunks together again, one message after the other.

    Args:
        max_model_bytes: largest total of arrays taken.
        is_wanted: told the header before any array is received; what it refuses is read and thrown away.
    """

    def __init__(self, max_model_bytes: int, is_wanted: Any = None) -> None:
        self._limit = max_model_bytes
        self._is_wanted = is_wanted or (lambda _header: True)
        self._header_left = 0
        self._array_bytes = 0
        self._header_data = bytearray()
        self._arrays: _ArrayReader | None = None
        self._header: pb.Header | None = None

    def begin(self, begin: pb.Begin) -> None:
        """Start a message, if its declared sizes are within the limits."""
        if not self.is_idle:
            raise ProtocolError("a message began inside another one")
        if not 0 < begin.header_bytes <= MAX_HEADER_BYTES:
            raise ProtocolError(f"a header of {begin.header_bytes} bytes; at most {MAX_HEADER_BYTES}")
        if begin.array_bytes > self._limit:
            raise ProtocolError(
                f"arrays of {begin.array_bytes} bytes; MAX_MODEL_BYTES={self._limit} is the limit here"
            )
        self._header_left, self._array_bytes = begin.header_bytes, begin.array_bytes
        self._header_data = bytearray()

    @property
    def is_idle(self) -> bool:
        """Whether no message is under way."""
        return not self._header_left and self._header is None

    def feed(self, chunk: bytes) -> Envelope | None:
        """Take a chunk; give the message when it was the last one.

        Raises:
            ProtocolError: the chunk does not belong here, or the message is malformed.
        """
        if self._header_left:
            return self._feed_header(chunk)
        if self._header is None or self._arrays is None:
            raise ProtocolError("a chunk outside a message")
        self._arrays.feed(chunk)
        return self._finish() if self._arrays.is_complete else None

    def _feed_header(self, chunk: bytes) -> Envelope | None:
        if not chunk or len(chunk) > self._header_left:
            raise ProtocolError(
                f"a chunk of {len(chunk)} bytes where the header has {self._header_left} left"
            )
        self._header_data += chunk
        self._header_left -= len(chunk)
        if self._header_left:
            return None
        header = _parse(pb.Header, bytes(self._header_data))
        self._arrays = _ArrayReader(header, self._array_bytes, keeps=self._is_wanted(header))
        self._header = header
        return self._finish() if self._arrays.is_complete else None

    def _finish(self) -> Envelope | None:
        header, reader = self._header, self._arrays
        assert header is not None and reader is not None  # noqa: S101, PT018 - both were set together
        self._header = self._arrays = None
        if not reader.keeps:
            return None
        return Envelope(header, _decode_content(header, reader.take()))


class _ArrayReader:
    """Fills the arrays that a header declares from the bytes that follow it."""

    def __init__(self, header: pb.Header, array_bytes: int, *, keeps: bool) -> None:
        self.keeps = keeps
        self._left = array_bytes
        self._records: dict[str, dict[str, Array]] = {}
        self._heads = [(record.name, head) for record in header.array_records for head in record.arrays]
        declared = sum(_size(head) for _, head in self._heads)
        if declared != array_bytes:
            raise ProtocolError(f"arrays of {declared} bytes in the header, {array_bytes} announced")
        if not keeps:
            self._heads = []
        for record in header.array_records:
            if record.name in self._records or len({h.name for h in record.arrays}) != len(record.arrays):
                raise ProtocolError("two arrays or records of one name")
            self._records[record.name] = {}
        self._next = 0
        self._file: io.BytesIO | None = None
        self._file_left = 0
        self._open_next()

    @property
    def is_complete(self) -> bool:
        return not self._left

    def feed(self, chunk: bytes) -> None:
        if not chunk or len(chunk) > self._left:
            raise ProtocolError(f"a chunk of {len(chunk)} bytes where the arrays have {self._left} left")
        self._left -= len(chunk)
        view = memoryview(chunk)
        while len(view) and self._file is not None:
            taken = min(len(view), self._file_left)
            self._file.write(view[:taken])
            self._file_left -= taken
            view = view[taken:]
            if not self._file_left:
                self._open_next()

    def take(self) -> dict[str, dict[str, Array]]:
        return self._records

    def _open_next(self) -> None:
        """Close the array that is full and open the next one that has bytes."""
        self._close()
        while self._next < len(self._heads):
            _, head = self._heads[self._next]
            self._file = arrays.new_file(head.dtype, tuple(head.shape))
            self._file_left = _size(head)
            self._next += 1
            if self._file_left:
                return
            self._close()

    def _close(self) -> None:
        if self._file is not None:
            record_name, head = self._heads[self._next - 1]
            array = arrays.close_file(self._file, head.dtype, tuple(head.shape))
            self._records[record_name][head.name] = array
            self._file = None


def encode_record(name: str, record: Mapping[str, Any]) -> pb.Record:
    """Encode a metric or config record.

    Raises:
        ValueError: an integer needs more than 64 bits.
    """
    return pb.Record(name=name, entries=[_encode_entry(key, value) for key, value in record.items()])


def decode_config(record: pb.Record) -> ConfigRecord:
    """Read a config record."""
    return ConfigRecord(_decode_entries(record))


def parse_frame(data: bytes) -> pb.Frame:
    """Read a frame.

    Raises:
        ProtocolError: it is no frame, or an empty one.
    """
    frame = _parse(pb.Frame, data)
    if frame.WhichOneof("kind") is None:
        raise ProtocolError("a frame of no known kind")
    return frame


def _cut(views: list[memoryview]) -> Iterator[bytes]:
    """Join views end to end and cut the whole into chunks."""
    pending: list[memoryview] = []
    room = _CHUNK_BYTES
    for view in views:
        while len(view):
            taken = view[:room]
            pending.append(taken)
            room -= len(taken)
            view = view[len(taken) :]  # noqa: PLW2901 - the rest of the same array
            if not room:
                yield b"".join(pending)
                pending, room = [], _CHUNK_BYTES
    if pending:
        yield b"".join(pending)


def _size(head: pb.Array) -> int:
    if head.dtype not in arrays.DTYPES or len(head.shape) > _MAX_DIMENSIONS:
        raise ProtocolError(
            f"array {head.name[:100]!r} of dtype {head.dtype[:20]!r}, {len(head.shape)} dimensions"
        )
    return math.prod(head.shape) * np.dtype(head.dtype).itemsize


def _encode_entry(key: str, value: Any) -> pb.Entry:
    items = value if isinstance(value, list) else [value]
    for kind, name in _SCALARS:
        if all(isinstance(item, kind) for item in items):
            if not isinstance(value, list):
                return pb.Entry(key=key, **{name: value})
            entry = pb.Entry(key=key)
            getattr(entry, _LISTS[name]).items.extend(value)
            getattr(entry, _LISTS[name]).SetInParent()  # an empty list is a value too
            return entry
    raise ValueError(f"record value {key!r} of type {type(value).__name__} cannot be sent")


def _decode_entries(record: pb.Record) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for entry in record.entries:
        name = entry.WhichOneof("value")
        if name is None or entry.key in values:
            raise ProtocolError(f"entry {entry.key[:100]!r} without a value, or twice")
        value = getattr(entry, name)
        values[entry.key] = list(value.items) if hasattr(value, "items") else value
    return values


def _decode_content(header: pb.Header, records: dict[str, dict[str, Array]]) -> RecordDict | Error:
    if header.HasField("error"):
        return Error(code=header.error.code, reason=header.error.reason)
    content = RecordDict()
    try:
        for name, record in records.items():
            content[name] = ArrayRecord(record)
        for message in header.metric_records:
            content[message.name] = MetricRecord(_decode_entries(message))
        for message in header.config_records:
            content[message.name] = decode_config(message)
    except (TypeError, ValueError) as error:
        raise ProtocolError(f"a record that Flower does not take: {error}") from error
    return content


def _parse(kind: Any, data: bytes) -> Any:
    try:
        return kind.FromString(data)
    except DecodeError as error:
        raise ProtocolError(f"bytes that are no {kind.DESCRIPTOR.name}") from error
