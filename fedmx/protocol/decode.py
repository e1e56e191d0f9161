"""Decodes frames into Flower records, within limits.

Memory grows with the bytes that have arrived, not with those that were announced. npy headers are written
here and not received, because a Flower `Array` believes its header.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass

from flwr.app import Array, ArrayRecord, Error, RecordDict

from fedmx import arrays
from fedmx.errors import ProtocolError
from fedmx.log import printable
from fedmx.protocol import link_pb2 as pb
from fedmx.protocol.encode import CHUNK_BYTES, MAX_HEADER_BYTES, parse
from fedmx.protocol.records import decode_config, decode_metrics, find_problem


@dataclass(frozen=True)
class Received:
    """A message that arrived. Its sender is the stream's, which the message cannot change.

    Attributes:
        header: the message's.
        content: its records, or the error in their place.
        frame_bytes: bytes of its frames; 0 where they are not counted.
    """

    header: pb.Header
    content: RecordDict | Error
    frame_bytes: int = 0

    @property
    def request_id(self) -> str:
        """The digest of the request that this is, or answers."""
        return self.header.request_id

    @property
    def round(self) -> int | None:
        """The number of its round; None if its group is not a number."""
        group = self.header.group_id
        return int(group) if group.isascii() and group.isdecimal() else None


def _want_all(_header: pb.Header) -> bool:
    return True


class Assembler:
    """Assembles messages from the chunks of one stream, one after the other.

    Args:
        max_model_bytes: the largest set of arrays accepted.
        is_wanted: is called with the header before any array is received; if it returns False, the message is
            read and dropped.
    """

    def __init__(self, max_model_bytes: int, is_wanted: Callable[[pb.Header], bool] = _want_all) -> None:
        self._limit = max_model_bytes
        self._is_wanted = is_wanted
        # Bytes that are missing of the current part: the header, then the arrays.
        self._left = 0
        # The array bytes that follow the header.
        self._array_bytes = 0
        # The array bytes of the current message.
        self._total = 0
        self._header: bytearray | None = None
        self._body: _Body | None = None

    @property
    def is_idle(self) -> bool:
        """Whether no message is incomplete."""
        return not self._left

    @property
    def arrived(self) -> tuple[str, int, int] | None:
        """The request id of the message whose arrays are arriving, their bytes so far and in all."""
        if self._body is None:
            return None
        return self._body.header.request_id, self._total - self._left, self._total

    def begin(self, begin: pb.Begin, *, is_kept: bool = True) -> None:
        """Start a message.

        Args:
            begin: the other end's announcement.
            is_kept: whether the message is awaited; if not, it is read and dropped.

        Raises:
            ProtocolError: another message is incomplete, or the announced sizes are beyond the limits.
        """
        if not self.is_idle:
            raise ProtocolError("a message began inside another one")
        if not 0 < begin.header_bytes <= MAX_HEADER_BYTES:
            raise ProtocolError(f"a header of {begin.header_bytes} bytes; at most {MAX_HEADER_BYTES}")
        if begin.array_bytes > self._limit:
            raise ProtocolError(
                f"arrays of {begin.array_bytes} bytes; MAX_MODEL_BYTES={self._limit} is the limit here"
            )
        self._left = begin.header_bytes
        self._array_bytes = begin.array_bytes
        self._total = begin.array_bytes
        self._header = bytearray() if is_kept else None

    def feed(self, chunk: bytes) -> Received | None:
        """Add a chunk; return the message if it is complete and wanted.

        All chunks but a part's last must be full, so that the other end cannot keep this one busy with few
        bytes.

        Raises:
            ProtocolError: the chunk does not belong here, or the message is malformed.
        """
        expected = min(self._left, CHUNK_BYTES)
        if not expected:
            raise ProtocolError("a chunk outside a message")
        if len(chunk) != expected:
            raise ProtocolError(f"a chunk of {len(chunk)} bytes; expected {expected}")
        self._left -= expected
        if self._body is not None:
            self._body.feed(chunk)
        elif self._header is not None:
            self._header += chunk
        return None if self._left else self._end_part()

    def forget(self, request_id: str) -> None:
        """Release the current message if it is, or answers, this request; the rest of it is dropped."""
        if self._body is not None and self._body.header.request_id == request_id:
            self._body = None

    def _end_part(self) -> Received | None:
        if self._header is not None:
            header = parse(pb.Header, bytes(self._header))
            self._header = None
            _check(header, self._array_bytes)
            self._body = _Body(header) if self._is_wanted(header) else None
        self._left = self._array_bytes
        self._array_bytes = 0
        if self._left or self._body is None:
            return None
        body = self._body
        self._body = None
        return body.take()


class _Body:
    """A message whose header is complete; the bytes that follow fill the arrays that it declares."""

    def __init__(self, header: pb.Header) -> None:
        self.header = header
        self._records: dict[str, dict[str, Array]] = {record.name: {} for record in header.array_records}
        self._heads = iter([(record.name, head) for record in header.array_records for head in record.arrays])
        self._open: _OpenArray | None = None
        self._open_next()

    def feed(self, chunk: bytes) -> None:
        rest = memoryview(chunk)
        while self._open is not None and rest.nbytes:
            rest = self._open.fill(rest)
            if not self._open.left:
                self._open_next()

    def take(self) -> Received:
        header = self.header
        if header.HasField("error"):
            return Received(header, Error(code=header.error.code, reason=printable(header.error.reason)))
        content = RecordDict()
        for name, record in self._records.items():
            content[name] = ArrayRecord(record)
        for message in header.metric_records:
            content[message.name] = decode_metrics(message)
        for message in header.config_records:
            content[message.name] = decode_config(message)
        return Received(header, content)

    def _open_next(self) -> None:
        """Close the current array and open the next one that has bytes."""
        self._close()
        for record_name, head in self._heads:
            self._open = _OpenArray(record_name, head)
            if self._open.left:
                return
            self._close()

    def _close(self) -> None:
        if self._open is not None:
            self._records[self._open.record_name][self._open.name] = self._open.close()
            self._open = None


class _OpenArray:
    """An array that is being filled."""

    def __init__(self, record_name: str, head: pb.Array) -> None:
        self.record_name = record_name
        self.name = head.name
        self.left = _size(head)
        self._dtype = head.dtype
        self._shape = tuple(head.shape)
        self._file: io.BytesIO = arrays.new_file(self._dtype, self._shape)

    def fill(self, data: memoryview) -> memoryview:
        """Add the bytes that fit and return the rest."""
        taken = data[: self.left]
        self._file.write(taken)
        self.left -= taken.nbytes
        return data[taken.nbytes :]

    def close(self) -> Array:
        return arrays.close_file(self._file, self._dtype, self._shape)


def _check(header: pb.Header, array_bytes: int) -> None:
    """Check what a header declares, before memory is allocated for it."""
    if problem := find_problem(header):
        raise ProtocolError(problem)
    declared = sum(_size(head) for record in header.array_records for head in record.arrays)
    if declared != array_bytes:
        raise ProtocolError(f"arrays of {declared} bytes in the header, {array_bytes} announced")


def _size(head: pb.Array) -> int:
    try:
        return arrays.byte_count(head.dtype, tuple(head.shape))
    except ValueError as error:
        raise ProtocolError(f"array {head.name[:100]!r}: {error}") from None
