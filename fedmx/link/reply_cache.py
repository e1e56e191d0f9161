"""A node's latest replies, from which repeated requests are answered, so that no training runs twice."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass

from flwr.app import MessageType

from fedmx.protocol import control
from fedmx.protocol import link_pb2 as pb
from fedmx.protocol.encode import EncodedMessage


@dataclass
class Reply:
    """A reply, ready to be sent as often as it is asked for.

    Attributes:
        request: the header of the request that it answers.
        message: the reply.
        left_out: the places of the arrays that the server has.
        waits: whether its arrays are sent once the server is ready for them.
        is_withdrawn: whether the rest of it is not sent.
    """

    request: pb.Header
    message: EncodedMessage
    left_out: frozenset[int] = frozenset()
    waits: bool = False
    is_withdrawn: bool = False

    def frames(self) -> Iterator[bytes]:
        """Return the frames, without the arrays that the server has; they end early if it is withdrawn."""
        self.is_withdrawn = False
        # Made now: what is left out may change before the first frame is written.
        return self._cut(self.message.frames(self.left_out, waits=self.waits))

    def _cut(self, frames: Iterator[bytes]) -> Iterator[bytes]:
        for number, frame in enumerate(frames):
            if self.is_withdrawn:
                if number:
                    yield control.build_withdraw(self.request.request_id)
                return
            yield frame

    @property
    def wire_bytes(self) -> int:
        """About how many bytes the frames have."""
        return self.message.count_bytes(self.left_out)

    def leave_out_all(self) -> None:
        """Refer to every array: the server asks for those that it has not received yet."""
        self.message = self.message.with_digests()
        self.left_out = frozenset(range(len(self.message.arrays.arrays)))


class ReplyCache:
    """The latest reply of each message type; of train and evaluate, those of one round alone.

    A server that was restarted first queries each node, then repeats the requests whose replies it lost. So a
    query releases nothing but the reply to the query before it. One of the replies is an update, as large as
    the model; the others are small. The main thread adds replies, and the stream's thread sends them again.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._replies: dict[str, Reply] = {}

    def find(self, request_id: str) -> Reply | None:
        """Return the reply to a request that was answered before, if it is still cached."""
        with self._lock:
            replies = list(self._replies.values())
        return next((reply for reply in replies if reply.request.request_id == request_id), None)

    def repeat(self, request_id: str) -> Iterator[bytes] | None:
        """Return the frames of a reply that refers to all its arrays; None if it is not cached."""
        reply = self.find(request_id)
        if reply is None:
            return None
        reply.leave_out_all()
        return reply.frames()

    def send_again(self, missing: pb.Missing) -> Iterator[bytes]:
        """Return the frames of a reply with the arrays that the server lacks; none if it is not cached."""
        reply = self.find(missing.request_id)
        if reply is None:
            return iter(())
        reply.left_out -= set(missing.arrays)
        return reply.frames()

    def withdraw(self, request_id: str) -> None:
        """Stop sending the reply to a request that is no longer awaited."""
        reply = self.find(request_id)
        if reply is not None:
            reply.is_withdrawn = True

    def list_requests(self) -> list[str]:
        """Return the ids of the requests whose replies are cached."""
        with self._lock:
            return [reply.request.request_id for reply in self._replies.values()]

    def make_room(self, request: pb.Header) -> None:
        """Release the replies that will not be asked for again once this request was made."""
        kind = request.message_type
        is_query = kind == MessageType.QUERY
        with self._lock:
            self._replies = {
                other: reply
                for other, reply in self._replies.items()
                if other != kind and (is_query or _round_of(reply.request) == _round_of(request))
            }

    def add(self, reply: Reply) -> None:
        """Add the reply to a request."""
        with self._lock:
            self._replies[reply.request.message_type] = reply


def _round_of(header: pb.Header) -> tuple[int, str]:
    return header.run_id, header.group_id
