"""One message on its way to a node and back, and the answer to it.

Only its future may be touched by more than one thread.
"""

import concurrent.futures
import math
from collections.abc import Iterable
from dataclasses import dataclass, field

from flwr.app import Array, Error, RecordDict

from fedmx import arrays
from fedmx.link.quorum import Absence, Cause
from fedmx.link.travel import Travel, Where
from fedmx.protocol.encode import EncodedMessage
from fedmx.sizes import show_megabytes


@dataclass(frozen=True)
class Transfer:
    """What a request and its reply cost."""

    bytes_down: int
    bytes_up: int
    seconds: float


@dataclass(frozen=True)
class Answer:
    """A node's reply to a request."""

    content: RecordDict | Error
    transfer: Transfer


@dataclass(eq=False)
class Request:
    """A message on its way to a node and back.

    Attributes:
        node_id: the node's.
        message: what it is sent.
        reply_waits: whether the reply waits for its turn, because many nodes are asked.
        most_reply_bytes: the most bytes of arrays that the reply may have.
        done: receives the answer; None if the node was given up.
        asked_at: monotonic seconds.
        bytes_down: bytes of frames that were written, to all streams together.
        bytes_to_send: bytes of the frames that are being written, or wait for that.
        bytes_sent: bytes of these that were written; 0 while they wait for their turn.
        is_written: whether all frames were written, and may still be on their way.
        travel: whether bytes of the request or of its reply are on their way.
        reply_arrived: array bytes of the reply that arrived.
        reply_total: array bytes of the reply; 0 before it begins.
        absence: why the node was given up.
        reply_arrays: the complete arrays of a reply whose stream broke, until one of them is looked for.
    """

    node_id: int
    message: EncodedMessage
    reply_waits: bool = False
    most_reply_bytes: float = math.inf
    done: "concurrent.futures.Future[Answer | None]" = field(default_factory=concurrent.futures.Future)
    asked_at: float = 0.0
    bytes_down: int = 0
    bytes_to_send: int = 0
    bytes_sent: int = 0
    is_written: bool = False
    travel: Travel = field(default_factory=Travel)
    reply_arrived: int = 0
    reply_total: int = 0
    absence: Absence | None = None
    reply_arrays: list[Array] = field(default_factory=list)
    _by_digest: dict[bytes, Array] = field(default_factory=dict, init=False)

    @property
    def request_id(self) -> str:
        """The digest that identifies the request."""
        return self.message.request_id

    def progress(self) -> str:
        """Return how far the request or its reply got, in bytes; empty if none are on their way."""
        if self.reply_total:
            return f"{_show(self.reply_arrived, self.reply_total)} of the reply had arrived"
        if self.bytes_sent < self.bytes_to_send:
            return f"{_show(self.bytes_sent, self.bytes_to_send)} of the request had been sent"
        return ""

    def queue(self) -> None:
        """Note that the request waits for its turn to be written, so that its node has nothing to do yet."""
        self._prepare(self.message.count_bytes())
        self.travel.go(Where.DOWN)

    def depart(self, size: int) -> None:
        """Note that the request is on its way to the node: `size` bytes, of which none is written yet."""
        self._prepare(size)
        self.travel.go(Where.DOWN, size)

    def _prepare(self, size: int) -> None:
        self.bytes_to_send = size
        self.bytes_sent = 0
        self.is_written = False

    def write(self, count: int) -> None:
        """Note that `count` bytes were written."""
        self.bytes_down += count
        self.bytes_sent += count

    def rest(self) -> None:
        """Note that nothing of the request is left to be sent."""
        self.is_written = False
        self.travel.go(Where.AT_REST)

    def break_off(self) -> None:
        """Note that its stream is gone."""
        self.is_written = False
        self.travel.break_off()

    def keep(self, received: Iterable[Array]) -> None:
        """Keep the complete arrays of a reply whose stream broke, instead of those that were kept before."""
        self.reply_arrays = list(received)
        self._by_digest = {}

    def find_kept(self, digest: bytes) -> Array | None:
        """Return the array of a digest among those that were kept."""
        # To compute their digests takes a while, and the node may never come back.
        while self.reply_arrays:
            array = self.reply_arrays.pop()
            self._by_digest[arrays.digest(array)] = array
        return self._by_digest.get(digest)

    def settle(self, answer: Answer) -> None:
        """End the wait with an answer."""
        if not self.done.done():
            self.done.set_result(answer)

    def give_up(self, cause: Cause) -> None:
        """End the wait without an answer."""
        if not self.done.done():
            self.absence = Absence(cause, self.progress())
            self.done.set_result(None)


def _show(part: int, whole: int) -> str:
    return f"{show_megabytes(part)} of {show_megabytes(whole)}"
