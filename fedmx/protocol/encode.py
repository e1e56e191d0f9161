"""Encodes Flower records into frames of at most 1 MiB.

A message is a header (everything but the arrays) and the arrays' raw bytes. Frames are cut from the arrays'
memory when their turn to be written comes, so a message that waits needs no memory beside its arrays, which
every message of a broadcast shares. `decode` is the way back.
"""

import hashlib
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from flwr.app import Array, Error, RecordDict
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
# Of a reply that waits: gRPC keeps a buffer per connection, as large as the largest frame that has arrived.
WAITING_CHUNK_BYTES = CHUNK_BYTES // 4
# A placeholder among the frames of a reply: the next frame is sent once the server is ready for it.
WAIT = b""
# Up to this many bytes, the chunks of arrays are cut once for all messages that carry them: one cut for nodes
# that have no arrays, and one for nodes that have some.
_MAX_SHARED_BYTES = 8 * 1024 * 1024
_MOST_SHARED_CUTS = 2
# A larger header travels in chunks. The begin frame may also list all arrays as left out.
_MAX_INLINE_HEADER_BYTES = 512 * 1024
# Protobuf's tag of `chunk`: field 5, length-delimited.
_CHUNK_TAG = 5 << 3 | 2
_VARINT_BITS = 7
_VARINT_MORE = 1 << _VARINT_BITS


@dataclass(frozen=True)
class EncodedArrays:
    """The arrays of a message, shared with every message that carries the same.

    Attributes:
        records: their names, dtypes and shapes, with the digests that are known.
        arrays: all of them, in the records' order.
        sizes: the bytes of each.
        digests: of each; empty where it is not known.
    """

    records: list[pb.ArrayRecord]
    arrays: list[Array] = field(repr=False)
    sizes: list[int]
    digests: list[bytes]
    _shared: dict[frozenset[int], list[bytes]] = field(default_factory=dict, repr=False)

    def cut(self, left_out: Collection[int] = (), chunk_bytes: int = CHUNK_BYTES) -> Iterable[bytes]:
        """Return the chunk frames of the arrays that are not left out; large ones are cut lazily."""
        sent = [place for place in range(len(self.arrays)) if place not in left_out]
        chunks = _cut((arrays.raw_bytes(self.arrays[place]) for place in sent), chunk_bytes)
        if chunk_bytes != CHUNK_BYTES or sum(self.sizes[place] for place in sent) > _MAX_SHARED_BYTES:
            return chunks
        key = frozenset(left_out)
        # What a node claims to have must not fill the memory with cuts.
        if key not in self._shared and len(self._shared) < _MOST_SHARED_CUTS:
            self._shared[key] = list(chunks)
        return self._shared.get(key, chunks)

    @property
    def size(self) -> int:
        """The bytes of all arrays."""
        return sum(self.sizes)

    @cached_property
    def _places(self) -> dict[bytes, int]:
        return {digest: place for place, digest in enumerate(self.digests) if digest}

    @cached_property
    def all_digests(self) -> frozenset[bytes]:
        """The digests that are known."""
        return frozenset(self._places)

    @property
    def known(self) -> frozenset[int]:
        """The places of the arrays whose digest is known."""
        return frozenset(place for place, digest in enumerate(self.digests) if digest)

    def find(self, digest: bytes) -> Array | None:
        """Return the array of a digest."""
        place = self._places.get(digest)
        return None if place is None else self.arrays[place]

    def find_known(self, digests: Collection[bytes]) -> frozenset[int]:
        """Return the places of the arrays whose digest is one of these."""
        return frozenset(place for place, digest in enumerate(self.digests) if digest and digest in digests)


NO_ARRAYS = EncodedArrays([], [], [], [])


@dataclass(frozen=True)
class EncodedMessage:
    """A message as a header and arrays, from which frames are cut.

    Attributes:
        request_id: the digest of the request that this is, or answers.
        run_id: of the run that it belongs to.
        header: everything but the arrays, serialized.
        arrays: the arrays.
    """

    request_id: str
    run_id: int
    header: bytes = field(repr=False)
    arrays: EncodedArrays

    def frames(
        self, left_out: Collection[int] = (), *, waits: bool = False, reply_waits: bool = False
    ) -> Iterator[bytes]:
        """Yield the frames in order.

        Args:
            left_out: the places of the arrays that the receiver has.
            waits: whether the arrays are cut into smaller chunks, with a `WAIT` before each.
            reply_waits: whether the reply is to wait so, where this is a request.
        """
        is_inline = len(self.header) <= _MAX_INLINE_HEADER_BYTES
        array_bytes = sum(size for place, size in enumerate(self.arrays.sizes) if place not in left_out)
        begin = pb.Begin(
            header=self.header if is_inline else b"",
            header_bytes=0 if is_inline else len(self.header),
            array_bytes=array_bytes,
            left_out=sorted(left_out),
            waits=waits and array_bytes > 0,
            reply_waits=reply_waits,
        )
        yield pb.Frame(begin=begin).SerializeToString()
        if not is_inline:
            yield from _cut([memoryview(self.header)])
        for chunk in self.arrays.cut(left_out, WAITING_CHUNK_BYTES if begin.waits else CHUNK_BYTES):
            if begin.waits:
                yield WAIT
            yield chunk

    def count_bytes(self, left_out: Collection[int] = ()) -> int:
        """Return about how many bytes the frames have: those of the header and of the arrays."""
        sizes = enumerate(self.arrays.sizes)
        return len(self.header) + sum(size for place, size in sizes if place not in left_out)

    def with_digests(self) -> "EncodedMessage":
        """Return the same message with the digests of all arrays."""
        header = pb.Header.FromString(self.header)
        heads = [head for record in header.array_records for head in record.arrays]
        digests = [arrays.digest(array) for array in self.arrays.arrays]
        for head, digest in zip(heads, digests, strict=True):
            head.digest = digest
        encoded = replace(self.arrays, records=list(header.array_records), digests=digests)
        return replace(self, header=header.SerializeToString(), arrays=encoded)


def encode_arrays(
    content: RecordDict, find_digest: Callable[[str, Array], bytes] = lambda _, array: arrays.digest(array)
) -> EncodedArrays:
    """Encode all arrays of a message.

    Args:
        content: the message's records.
        find_digest: returns the digest of an array by its name, or nothing if it is not known; by default it
            is computed.

    Raises:
        ValueError: an array is not a numpy array of numbers.
    """
    encoded = EncodedArrays([], [], [], [])
    for record_name, record in content.array_records.items():
        heads = []
        for name, array in record.items():
            values = arrays.view(array)
            digest = find_digest(name, array)
            encoded.arrays.append(array)
            encoded.sizes.append(values.nbytes)
            encoded.digests.append(digest)
            heads.append(pb.Array(name=name, dtype=values.dtype.name, shape=values.shape, digest=digest))
        encoded.records.append(pb.ArrayRecord(name=record_name, arrays=heads))
    return encoded


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
        # The arrays' digests are in the header.
        header.request_id = hashlib.sha256(header.SerializeToString(deterministic=True)).hexdigest()
    data = header.SerializeToString()
    if len(data) > MAX_HEADER_BYTES:
        raise ValueError(f"records of {len(data)} bytes beside the arrays; at most {MAX_HEADER_BYTES}")
    return EncodedMessage(header.request_id, header.run_id, data, encoded)


def read_chunk(data: bytes) -> memoryview | None:
    """Return the bytes of a chunk without a copy; None if the frame is not a chunk in its plainest encoding.

    Protobuf would copy them twice.
    """
    if not data or data[0] != _CHUNK_TAG:
        return None
    length = shift = 0
    for start, byte in enumerate(data[1:5], 2):
        length |= (byte & ~_VARINT_MORE) << shift
        shift += _VARINT_BITS
        if not byte & _VARINT_MORE:
            return memoryview(data)[start:] if len(data) - start == length else None
    return None


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


def _cut(views: Iterable[memoryview], chunk_bytes: int = CHUNK_BYTES) -> Iterator[bytes]:
    """Yield the views' bytes, joined end to end, as chunk frames; each byte is copied once."""
    pending: list[memoryview] = []
    room = chunk_bytes
    for view in views:
        start = 0
        while start < len(view):
            taken = view[start : start + room]
            pending.append(taken)
            room -= len(taken)
            start += len(taken)
            if not room:
                yield _make_chunk(pending, chunk_bytes)
                pending = []
                room = chunk_bytes
    if pending:
        yield _make_chunk(pending, chunk_bytes - room)


def _make_chunk(parts: list[memoryview], length: int) -> bytes:
    """Serialize a chunk frame by hand: protobuf would copy its bytes twice."""
    head = bytearray([_CHUNK_TAG])
    while length >= _VARINT_MORE:
        head.append(length & ~_VARINT_MORE & 0xFF | _VARINT_MORE)
        length >>= _VARINT_BITS
    head.append(length)
    return b"".join([head, *parts])
