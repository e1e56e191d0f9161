"""Decodes frames into Flower records, within limits.

Memory grows with the bytes that have arrived, not with those that were announced.
"""

from collections.abc import Callable
from dataclasses import dataclass

from flwr.app import Array, Error, RecordDict

from fedmx.errors import ProtocolError
from fedmx.protocol import link_pb2 as pb
from fedmx.protocol.body import Body, OpenSlot, count_bytes, list_heads
from fedmx.protocol.encode import CHUNK_BYTES, MAX_HEADER_BYTES, WAITING_CHUNK_BYTES, parse
from fedmx.protocol.records import find_problem

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
        places: the positions of these arrays among those of the message.
    """

    request_id: str
    places: list[int]


def _want_all(_header: pb.Header, _array_bytes: int) -> bool:
    return True


def _find_none(_header: pb.Header, _digest: bytes) -> None:
    return None


class Assembler:
    """Assembles messages from the frames of one stream, one after the other.

    Args:
        max_model_bytes: the largest set of arrays accepted.
        open_slot: opens a slot for each array.
        is_wanted: is called with the header and the bytes of the arrays that follow, before any of them is
            received; if it returns False, the message is read and dropped.
        find_array: finds an array that a message leaves out.
    """

    def __init__(
        self,
        max_model_bytes: int,
        open_slot: OpenSlot,
        is_wanted: Callable[[pb.Header, int], bool] = _want_all,
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
        self._body: Body | None = None

    @property
    def is_idle(self) -> bool:
        """Whether no message is incomplete."""
        return not self._left

    @property
    def bytes_that_wait(self) -> int:
        """The bytes of the current message that the other end sends only when it may."""
        is_array = not self._begin.header_bytes
        return self._left if self._begin.waits and is_array else 0

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

    def abort(self) -> None:
        """Release the current message, the rest of which is not sent.

        Raises:
            ProtocolError: no message is incomplete.
        """
        if self.is_idle:
            raise ProtocolError("a withdrawal outside a message")
        if self._body is not None:
            self._body.discard()
        self._body = self._header = None
        self._left = 0

    def take_complete(self) -> tuple[pb.Header, list[tuple[pb.Array, Array]]]:
        """Release the current message; return its header and those of its arrays that are complete."""
        body, self._body = self._body, None
        return (pb.Header(), []) if body is None else (body.header, body.take_complete())

    def _end_header(self) -> Received | Lacking | None:
        data, self._header = self._header, None
        self._left = self._begin.array_bytes
        # From here on, chunks are those of arrays.
        self._begin.header_bytes = 0
        if data is None:
            return None
        header = parse(pb.Header, bytes(data))
        left_out = _check(header, self._begin)
        if not self._is_wanted(header, self._begin.array_bytes):
            return None
        found = ((place, self._find_array(header, head.digest)) for place, head in left_out.items())
        known = {place: array for place, array in found if array is not None}
        if lacking := [place for place in left_out if place not in known]:
            return Lacking(header.request_id, lacking)
        self._body = Body(header, known, self._open_slot)
        return None if self._left else self._take_body()

    def _take_body(self) -> Received | None:
        body, self._body = self._body, None
        return None if body is None else Received(body.header, body.take())


def _check(header: pb.Header, begin: pb.Begin) -> dict[int, pb.Array]:
    """Check what a header declares, before memory is allocated for it; return what is left out, by place."""
    if problem := find_problem(header):
        raise ProtocolError(problem)
    heads = [head for _, head in list_heads(header)]
    places = list(begin.left_out)
    if places != sorted(set(places)) or not all(place < len(heads) for place in places):
        raise ProtocolError("arrays left out that are not in the message")
    left_out = {place: heads[place] for place in places}
    if not all(head.digest for head in left_out.values()):
        raise ProtocolError("an array left out without its digest")
    declared = sum(count_bytes(head) for place, head in enumerate(heads) if place not in left_out)
    if declared != begin.array_bytes:
        raise ProtocolError(f"arrays of {declared} bytes in the header, {begin.array_bytes} announced")
    return left_out
