"""Frames -> Flower records. What is received is believed only within limits.

Nothing is allocated before the declared sizes passed them, and npy headers are written here, not received.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass

from flwr.app import Array, ArrayRecord, Error, RecordDict

from fedmx import arrays
from fedmx.errors import ProtocolError
from fedmx.link import link_pb2 as pb
from fedmx.link.codec import MAX_HEADER_BYTES, parse
from fedmx.link.records import decode_config, decode_metrics

_MAX_ARRAYS = 65_536  # each costs about a kilobyte here, also an empty one


@dataclass(frozen=True)
class Received:
    """A message as it arrived: who it is from and what it answers are known to the stream alone."""

    header: pb.Header
    content: RecordDict | Error

    @property
    def request_id(self) -> str:
        """The digest that names the request this is, or answers."""
        return self.header.request_id


def _want_all(_header: pb.Header) -> bool:
    return True


class Assembler:
    """Puts one stream's chunks together again, one message after the other.

    Args:
        max_model_bytes: largest total of arrays taken.
        is_wanted: told the header before any array is received; what it refuses is read and thrown away.
    """

    def __init__(self, max_model_bytes: int, is_wanted: Callable[[pb.Header], bool] = _want_all) -> None:
        self._limit = max_model_bytes
        self._is_wanted = is_wanted
        self._header_left = 0
        self._header_data = bytearray()
        self._array_bytes = 0
        self._body: _Body | None = None

    @property
    def is_idle(self) -> bool:
        """Whether no message is under way."""
        return not self._header_left and self._body is None

    def begin(self, begin: pb.Begin) -> None:
        """Start a message.

        Raises:
            ProtocolError: one is under way, or its declared sizes are beyond the limits.
        """
        if not self.is_idle:
            raise ProtocolError("a message began inside another one")
        if not 0 < begin.header_bytes <= MAX_HEADER_BYTES:
            raise ProtocolError(f"a header of {begin.header_bytes} bytes; at most {MAX_HEADER_BYTES}")
        if begin.array_bytes > self._limit:
            raise ProtocolError(
                f"arrays of {begin.array_bytes} bytes; MAX_MODEL_BYTES={self._limit} is the limit here"
            )
        self._header_left, self._array_bytes = begin.header_bytes, begin.array_bytes

    def feed(self, chunk: bytes) -> Received | None:
        """Take a chunk; give the message when it was the last one, and the message is wanted.

        Raises:
            ProtocolError: the chunk does not belong here, or the message is malformed.
        """
        if self._header_left:
            self._feed_header(chunk)
        elif self._body is not None:
            self._body.feed(chunk)
        else:
            raise ProtocolError("a chunk outside a message")
        if self._body is None or not self._body.is_complete:
            return None
        body, self._body = self._body, None
        return body.take() if body.is_kept else None

    def _feed_header(self, chunk: bytes) -> None:
        if not 0 < len(chunk) <= self._header_left:
            raise ProtocolError(
                f"a chunk of {len(chunk)} bytes where the header has {self._header_left} left"
            )
        self._header_data += chunk
        self._header_left -= len(chunk)
        if not self._header_left:
            header = parse(pb.Header, bytes(self._header_data))
            self._header_data = bytearray()
            self._body = _Body(header, self._array_bytes, is_kept=self._is_wanted(header))


class _Body:
    """A message whose header is there: fills the arrays that it declares from the bytes that follow it."""

    def __init__(self, header: pb.Header, array_bytes: int, *, is_kept: bool) -> None:
        _check(header, array_bytes)
        self.is_kept = is_kept
        self._header = header
        self._left = array_bytes
        self._records: dict[str, dict[str, Array]] = {record.name: {} for record in header.array_records}
        heads = [(record.name, head) for record in header.array_records for head in record.arrays]
        self._heads = iter(heads if is_kept else [])
        self._open: _OpenArray | None = None
        self._open_next()

    @property
    def is_complete(self) -> bool:
        return not self._left

    def feed(self, chunk: bytes) -> None:
        if not 0 < len(chunk) <= self._left:
            raise ProtocolError(f"a chunk of {len(chunk)} bytes where the arrays have {self._left} left")
        self._left -= len(chunk)
        rest = memoryview(chunk)
        while self._open is not None and rest.nbytes:
            rest = self._open.fill(rest)
            if not self._open.left:
                self._open_next()

    def take(self) -> Received:
        header = self._header
        if header.HasField("error"):
            return Received(header, Error(code=header.error.code, reason=header.error.reason))
        content = RecordDict()
        for name, record in self._records.items():
            content[name] = ArrayRecord(record)
        for message in header.metric_records:
            content[message.name] = decode_metrics(message)
        for message in header.config_records:
            content[message.name] = decode_config(message)
        return Received(header, content)

    def _open_next(self) -> None:
        """Close the array that is full and open the next one that has bytes."""
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
    """The array that is being filled."""

    def __init__(self, record_name: str, head: pb.Array) -> None:
        self.record_name, self.name = record_name, head.name
        self.left = _size(head)
        self._dtype, self._shape = head.dtype, tuple(head.shape)
        self._file: io.BytesIO = arrays.new_file(self._dtype, self._shape)

    def fill(self, data: memoryview) -> memoryview:
        """Take what fits and give the rest."""
        taken = data[: self.left]
        self._file.write(taken)
        self.left -= taken.nbytes
        return data[taken.nbytes :]

    def close(self) -> Array:
        return arrays.close_file(self._file, self._dtype, self._shape)


def _check(header: pb.Header, array_bytes: int) -> None:
    """Check what a header declares, before anything is allocated for it."""
    heads = [head for record in header.array_records for head in record.arrays]
    if len(heads) > _MAX_ARRAYS:
        raise ProtocolError(f"{len(heads)} arrays; at most {_MAX_ARRAYS}")
    declared = sum(map(_size, heads))
    if declared != array_bytes:
        raise ProtocolError(f"arrays of {declared} bytes in the header, {array_bytes} announced")
    for record in header.array_records:
        _check_names([head.name for head in record.arrays])
    records = (header.array_records, header.metric_records, header.config_records)
    _check_names([record.name for kind in records for record in kind])


def _check_names(names: list[str]) -> None:
    if len(set(names)) != len(names):
        raise ProtocolError("two arrays or records of one name")


def _size(head: pb.Array) -> int:
    try:
        return arrays.byte_count(head.dtype, tuple(head.shape))
    except ValueError as error:
        raise ProtocolError(f"array {head.name[:100]!r}: {error}") from None
