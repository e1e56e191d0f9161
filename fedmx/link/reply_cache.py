"""A node's latest replies, from which repeated requests are answered, so that no training runs twice."""

from flwr.app import MessageType

from fedmx.protocol import link_pb2 as pb


class ReplyCache:
    """The latest reply of each message type, as frames; of train and evaluate, those of one round alone.

    A server that was restarted first queries each node, then repeats the requests whose replies it lost. So a
    query releases nothing but the reply to the query before it. One of the replies is an update, as large as
    the model; the others are small.
    """

    def __init__(self) -> None:
        self._replies: dict[str, tuple[pb.Header, list[bytes]]] = {}

    def find(self, request: pb.Header) -> list[bytes] | None:
        """Return the reply to a request that was answered before, if it is still cached."""
        header, frames = self._replies.get(request.message_type, (None, None))
        return frames if header is not None and header.request_id == request.request_id else None

    def make_room(self, request: pb.Header) -> None:
        """Release the replies that will not be asked for again once this request was made."""
        kind = request.message_type
        is_query = kind == MessageType.QUERY
        self._replies = {
            other: reply
            for other, reply in self._replies.items()
            if other != kind and (is_query or _round_of(reply[0]) == _round_of(request))
        }

    def add(self, request: pb.Header, frames: list[bytes]) -> None:
        """Add the reply to a request."""
        self._replies[request.message_type] = (request, frames)


def _round_of(header: pb.Header) -> tuple[int, str]:
    return header.run_id, header.group_id
