"""Decodes frames into Flower records, within limits.

Memory grows with the bytes that have arrived, not with those that were announced. Arrays are received where
they stay: each frame's bytes are copied once.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from flwr.app import Array, Error, RecordDict

from fedmx import arrays
from fedmx.errors import ProtocolError
from fedmx.log import printable
from fedmx.protocol import link_pb2 as pb
from fedmx.protocol.encode import CHUNK_BYTES, MAX_HEADER_BYTES, WAITING_CHUNK_BYTES, parse
from fedmx.protocol.records import decode_config, decode_metrics, find_problem


class Slot(Protocol):
    """An array that is being received; an `ArrayStore` opens them."""

    @property
    def left(self) -> int:
        """How many bytes are missing."""

    def write(self, data: memoryview) -> None:
        """Add bytes, at most those that are missing."""

    def close(self) -> Array:
        """Return the array."""

    def discard(self) -> None:
        """Release the array, which is not needed."""


OpenSlot = Callable[[str, tuple[int, ...]], Slot]
"""Opens a slot for an array of a dtype and a shape."""

FindArray = Callable[[pb.Header, bytes], Array | None]
"""Returns the array of a digest that a message leaves out, if the message may refer to it."""


@dataclass(frozen=True)
class Received:
    """A message that arrived. Its sender is the stream's, which the message cannot change.

    Attributes:
        header: the message's.
        content: its records, or the error in their place.
        frame_bytes: bytes of its frames; 0 where they are not counted.
        reply_waits: whether the reply waits until the server is ready for its arrays.
    """

    header: pb.Header
    content: RecordDict | Error
    frame_bytes: int = 0
    reply_waits: bool = False

    @property
    def request_id(self) -> str:
        """The digest of the request that this is, or answers."""
        return self.header.request_id

    @property
    def round(self) -> int | None:
        """The number of its round; None if its group is not a number."""
        group = self.header.group_id
        return int(group) if group.isascii() and group.isdecimal() else None


@dataclass(frozen=True)
class Lacking:
    """A message that left out arrays that are not here, so that it has to be sent again with them.

    Attributes:
        request_id: the digest of the request that the message is, or answers.
        places: of these arrays among all of the message.
    """

    request_id: str
    places: list[int]


def _want_all(_header: pb.Header) -> bool:
    return True


def _find_none(_header: pb.Header, _digest: bytes) -> None:
    return None


class Assembler:
    """Assembles messages from the frames of one stream, one after the other.

    Args:
        max_model_bytes: the largest set of arrays accepted.
        open_slot: opens a slot for each array.
        is_wanted: is called with the header before any array is received; if it returns False, the message is
            read and dropped.
        find_array: finds an array that a message leaves out.
    """

    def __init__(
        self,
        max_model_bytes: int,
        open_slot: OpenSlot,
        is_wanted: Callable[[pb.Header], bool] = _want_all,
        find_array: FindArray = _find_none,
    ) -> None:
        self._limit = max_model_bytes
        self._open_slot = open_slot
        self._is_wanted = is_wanted
        self._find_array = find_array
        # Bytes that are missing of the current part: the header, then the arrays.
        self._left = 0
        self._begin = pb.Begin()
        self._header: bytearray | None = None
        self._body: _Body | None = None

    @property
    def is_idle(self) -> bool:
        """Whether no message is incomplete."""
        return not self._left

    @property
    def waits(self) -> bool:
        """Whether the other end waits before the next chunk of the current message."""
        return self._begin.waits and not self.is_idle

    @property
    def arrived(self) -> tuple[str, int, int] | None:
        """The request id of the message whose arrays are arriving, their bytes so far and in all."""
        if self._body is None:
            return None
        total = self._begin.array_bytes
        return self._body.header.request_id, total - self._left, total

    def begin(self, begin: pb.Begin, *, is_kept: bool = True) -> Received | Lacking | None:
        """Start a message; return it if it is complete and wanted, or what it lacks.

        Args:
            begin: the other end's announcement.
            is_kept: whether the message is awaited; if not, it is read and dropped.

        Raises:
            ProtocolError: another message is incomplete, or the announced sizes are beyond the limits.
        """
        if not self.is_idle:
            raise ProtocolError("a message began inside another one")
        header_bytes = len(begin.header) or begin.header_bytes
        if not 0 < header_bytes <= MAX_HEADER_BYTES or (begin.header and begin.header_bytes):
            raise ProtocolError(f"a header of {header_bytes} bytes; at most {MAX_HEADER_BYTES}")
        if begin.array_bytes > self._limit:
            raise ProtocolError(
                f"arrays of {begin.array_bytes} bytes; MAX_MODEL_BYTES={self._limit} is the limit here"
            )
        self._begin = begin
        self._body = None
        self._header = bytearray(begin.header) if is_kept else None
        self._left = begin.header_bytes
        return None if self._left else self._end_header()

    def feed(self, chunk: memoryview) -> Received | Lacking | None:
        """Add a chunk; return the message if it is complete and wanted, or what it lacks.

        All chunks but a part's last must be full, so that the other end cannot keep this one busy with few
        bytes.

        Raises:
            ProtocolError: the chunk does not belong here, or the message is malformed.
        """
        is_array = not self._begin.header_bytes
        most = WAITING_CHUNK_BYTES if self._begin.waits and is_array else CHUNK_BYTES
        expected = min(self._left, most)
        if not expected:
            raise ProtocolError("a chunk outside a message")
        if len(chunk) != expected:
            raise ProtocolError(f"a chunk of {len(chunk)} bytes; expected {expected}")
        self._left -= expected
        if self._begin.header_bytes:
            if self._header is not None:
                self._header += chunk
            return None if self._left else self._end_header()
        if self._body is None:
            return None
        self._body.feed(chunk)
        return None if self._left else self._take_body()

    def forget(self, request_id: str) -> None:
        """Release the current message if it is, or answers, this request; the rest of it is dropped."""
        if self._body is not None and self._body.header.request_id == request_id:
            self._body.discard()
            self._body = None

    def take_complete(self) -> tuple[str, list[Array]]:
        """Release the current message; return its request id and those of its arrays that are complete."""
        body, self._body = self._body, None
        return ("", []) if body is None else (body.header.request_id, body.take_complete())

    def _end_header(self) -> Received | Lacking | None:
        data, self._header = self._header, None
        self._left = self._begin.array_bytes
        # From here on, chunks are those of arrays.
        self._begin.header_bytes = 0
        if data is None:
            return None
        header = parse(pb.Header, bytes(data))
        left_out = _check(header, self._begin)
        if not self._is_wanted(header):
            return None
        found = ((place, self._find_array(header, head.digest)) for place, head in left_out.items())
        known = {place: array for place, array in found if array is not None}
        if lacking := [place for place in left_out if place not in known]:
            return Lacking(header.request_id, lacking)
        self._body = _Body(header, known, self._open_slot)
        return None if self._left else self._take_body()

    def _take_body(self) -> Received | None:
        body, self._body = self._body, None
        return None if body is None else body.take()


class _Body:
    """A message whose header is complete; the bytes that follow fill the arrays that are not left out."""

    def __init__(self, header: pb.Header, known: dict[int, Array], open_slot: OpenSlot) -> None:
        self.header = header
        self._known = known
        self._open_slot = open_slot
        self._records: dict[str, dict[str, Array]] = {record.name: {} for record in header.array_records}
        self._received: list[Array] = []
        self._heads = enumerate(_list_heads(header))
        self._current: tuple[str, pb.Array] = ("", pb.Array())
        self._slot: Slot | None = None
        self._open_next()

    def feed(self, chunk: memoryview) -> None:
        rest = chunk
        while self._slot is not None and rest.nbytes:
            taken = min(self._slot.left, rest.nbytes)
            self._slot.write(rest[:taken])
            rest = rest[taken:]
            if not self._slot.left:
                self._open_next()

    def take(self) -> Received:
        header = self.header
        if header.HasField("error"):
            return Received(header, Error(code=header.error.code, reason=printable(header.error.reason)))
        content = RecordDict()
        for name, record in self._records.items():
            content[name] = arrays.make_record(record)
        for message in header.metric_records:
            content[message.name] = decode_metrics(message)
        for message in header.config_records:
            content[message.name] = decode_config(message)
        return Received(header, content)

    def take_complete(self) -> list[Array]:
        self.discard()
        return self._received

    def discard(self) -> None:
        if self._slot is not None:
            self._slot.discard()
            self._slot = None

    def _open_next(self) -> None:
        """Close the current array and open the next one that has bytes to come."""
        self._close()
        for place, (record_name, head) in self._heads:
            if (array := self._known.get(place)) is not None:
                self._records[record_name][head.name] = array
                continue
            self._current = record_name, head
            try:
                self._slot = self._open_slot(head.dtype, tuple(head.shape))
            except MemoryError:
                raise ProtocolError(f"array {head.name!r}: no memory for its {_size(head)} bytes") from None
            if self._slot.left:
                return
            self._close()

    def _close(self) -> None:
        if self._slot is None:
            return
        record_name, head = self._current
        array = self._slot.close()
        self._slot = None
        self._records[record_name][head.name] = array
        self._received.append(array)


def _check(header: pb.Header, begin: pb.Begin) -> dict[int, pb.Array]:
    """Check what a header declares, before memory is allocated for it; return what is left out, by place."""
    if problem := find_problem(header):
        raise ProtocolError(problem)
    heads = [head for _, head in _list_heads(header)]
    places = list(begin.left_out)
    if places != sorted(set(places)) or not all(place < len(heads) for place in places):
        raise ProtocolError("arrays left out that are not in the message")
    left_out = {place: heads[place] for place in places}
    if not all(head.digest for head in left_out.values()):
        raise ProtocolError("an array left out without its digest")
    declared = sum(_size(head) for place, head in enumerate(heads) if place not in left_out)
    if declared != begin.array_bytes:
        raise ProtocolError(f"arrays of {declared} bytes in the header, {begin.array_bytes} announced")
    return left_out


def _list_heads(header: pb.Header) -> Iterator[tuple[str, pb.Array]]:
    return ((record.name, head) for record in header.array_records for head in record.arrays)


def _size(head: pb.Array) -> int:
    try:
        return arrays.byte_count(head.dtype, tuple(head.shape))
    except ValueError as error:
        raise ProtocolError(f"array {head.name[:100]!r}: {error}") from None
