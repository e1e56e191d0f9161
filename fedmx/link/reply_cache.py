"""The replies that a node keeps until their round is over: what is asked again is answered from them."""

from flwr.app import MessageType

from fedmx.protocol import link_pb2 as pb


class ReplyCache:
    """The newest reply of each message type, as frames; of train and evaluate, those of one round alone.

    A server that was restarted asks first who a node is, then for what it lost: so a query lets go of nothing
    but the query before it. One of the replies is an update, as large as the model; the others are small.
    """

    def __init__(self) -> None:
        self._kept: dict[str, tuple[pb.Header, list[bytes]]] = {}

    def find(self, request: pb.Header) -> list[bytes] | None:
        """Give the reply to a request that was answered before, if it is here."""
        header, frames = self._kept.get(request.message_type, (None, None))
        return frames if header is not None and header.request_id == request.request_id else None

    def make_room(self, request: pb.Header) -> None:
        """Let go of what nobody will ask for again once this request was made."""
        kind, is_query = request.message_type, request.message_type == MessageType.QUERY
        self._kept = {
            other: kept
            for other, kept in self._kept.items()
            if other != kind and (is_query or _round_of(kept[0]) == _round_of(request))
        }

    def add(self, request: pb.Header, frames: list[bytes]) -> None:
        """Keep the reply to a request."""
        self._kept[request.message_type] = (request, frames)


def _round_of(header: pb.Header) -> tuple[int, str]:
    return header.run_id, header.group_id
