"""Receives the arrays of one message where they stay: each frame's bytes are copied once."""

from collections.abc import Callable, Iterator
from typing import Protocol

from flwr.app import Array, Error, RecordDict

from fedmx import arrays
from fedmx.errors import ProtocolError
from fedmx.log import printable
from fedmx.protocol import link_pb2 as pb
from fedmx.protocol.records import decode_config, decode_metrics


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


class Body:
    """A message whose header is complete; the bytes that follow fill the arrays that are not left out.

    Args:
        header: the message's, which was checked.
        known: the arrays that are left out, by their positions among all of the message.
        open_slot: opens a slot for each of the others.

    Attributes:
        header: the message's.
    """

    def __init__(self, header: pb.Header, known: dict[int, Array], open_slot: OpenSlot) -> None:
        self.header = header
        self._known = known
        self._open_slot = open_slot
        self._records: dict[str, dict[str, Array]] = {record.name: {} for record in header.array_records}
        self._received: list[tuple[pb.Array, Array]] = []
        self._heads = enumerate(list_heads(header))
        self._current: tuple[str, pb.Array] = ("", pb.Array())
        self._slot: Slot | None = None
        self._open_next()

    def feed(self, chunk: memoryview) -> None:
        """Add bytes of the arrays.

        Raises:
            ProtocolError: the next array cannot be received.
        """
        rest = chunk
        while self._slot is not None and rest.nbytes:
            taken = min(self._slot.left, rest.nbytes)
            self._slot.write(rest[:taken])
            rest = rest[taken:]
            if not self._slot.left:
                self._open_next()

    def take(self) -> RecordDict | Error:
        """Return the records, or the error in their place, once all bytes have arrived.

        Raises:
            ProtocolError: a record is not valid.
        """
        header = self.header
        if header.HasField("error"):
            return Error(code=header.error.code, reason=printable(header.error.reason))
        content = RecordDict()
        for name, record in self._records.items():
            content[name] = arrays.make_record(record)
        for message in header.metric_records:
            content[message.name] = decode_metrics(message)
        for message in header.config_records:
            content[message.name] = decode_config(message)
        return content

    def take_complete(self) -> list[tuple[pb.Array, Array]]:
        """Return the arrays that have arrived or are left out, with what the header says of each.

        The one that is incomplete is released.
        """
        self.discard()
        heads = [head for _, head in list_heads(self.header)]
        return [*((heads[place], array) for place, array in self._known.items()), *self._received]

    def discard(self) -> None:
        """Release the array that is incomplete."""
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
                raise ProtocolError(
                    f"array {head.name!r}: no memory for its {count_bytes(head)} bytes"
                ) from None
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
        self._received.append((head, array))


def list_heads(header: pb.Header) -> Iterator[tuple[str, pb.Array]]:
    """Return the name of its record and the head of each array, in the message's order."""
    return ((record.name, head) for record in header.array_records for head in record.arrays)


def count_bytes(head: pb.Array) -> int:
    """Return the bytes of an array.

    Raises:
        ProtocolError: it has a dtype or a shape that cannot be received.
    """
    try:
        return arrays.byte_count(head.dtype, tuple(head.shape))
    except ValueError as error:
        raise ProtocolError(f"array {head.name[:100]!r}: {error}") from None
