"""Sends requests to one node, on one stream, without the arrays and the requests that the node has."""

from collections.abc import Collection, Iterator

from fedmx.errors import ProtocolError, SettingsError
from fedmx.link.flower import error_of
from fedmx.link.outbox import Outbox
from fedmx.link.quota import Quota
from fedmx.link.request import Request
from fedmx.link.requests import Requests
from fedmx.protocol import control
from fedmx.protocol import link_pb2 as pb
from fedmx.protocol.control import Holding


class Delivery:
    """What one node has, and what it still has to be sent.

    A node keeps the arrays of the newest message that it received. Messages arrive in order, so the server
    knows which those are; where it is wrong, because a message was dropped, the node asks for what it lacks.

    Args:
        requests: what is asked and still awaited.
        outbox: writes to the node's stream.
        quota: limits what the node may ask for.

    Attributes:
        max_model_bytes: the largest set of arrays that the node accepts.
    """

    def __init__(self, requests: Requests, outbox: Outbox, quota: Quota) -> None:
        self.max_model_bytes = 0
        self._requests = requests
        self._outbox = outbox
        self._quota = quota
        self._holding = Holding()
        # Of the message that was sent last: the digests of its arrays, its request id, and the places of the
        # arrays that were left out of it.
        self._sent_digests: frozenset[bytes] | None = None
        self._sent: tuple[str, frozenset[int]] = "", frozenset()

    def note(self, holding: Holding) -> None:
        """Note what the node has from an earlier stream."""
        self._holding = holding

    def ask(self, request: Request) -> None:
        """Send a request, or only its id if the node has it; one that is too large for the node fails."""
        size, limit = request.message.arrays.size, self.max_model_bytes
        if size > limit:
            error = SettingsError(f"MAX_MODEL_BYTES={limit} on this node: the arrays have {size} bytes")
            self._requests.settle(request.node_id, request.request_id, error_of(error), 0)
            return
        self._quota.count_request(request.request_id)
        if request.request_id in self._holding.request_ids:
            self._outbox.send([control.build_repeat(request.request_id)])
        else:
            self._send(request.node_id, request.request_id)

    def ask_again(self, node_id: int, missing: pb.Missing) -> None:
        """Send a request again to a node that lacks some of its arrays, or all of it.

        Raises:
            ProtocolError: the node asked for it before.
        """
        self._quota.count_missing(missing.request_id)
        self._send(node_id, missing.request_id, missing.arrays)

    def expects(self, node_id: int, request_id: str, array_bytes: int) -> bool:
        """Return whether a reply is awaited; the request fails if the reply has too many bytes of arrays."""
        request = self._requests.find(node_id, request_id)
        if request is None or array_bytes <= request.most_reply_bytes:
            return request is not None
        error = ProtocolError(
            f"a reply with arrays of {array_bytes} bytes, expected at most {request.most_reply_bytes}"
        )
        self._requests.settle(node_id, request_id, error_of(error), 0)
        self._outbox.send([control.build_withdraw(request_id)])
        return False

    def _send(self, node_id: int, request_id: str, missing: Collection[int] | None = None) -> None:
        self._requests.queue(node_id, request_id)
        self._outbox.send(self._cut(node_id, request_id, missing))

    def _cut(self, node_id: int, request_id: str, missing: Collection[int] | None) -> Iterator[bytes]:
        """Yield a request's frames when its turn to be written comes; none if it is not awaited by then.

        Until then nothing here refers to its arrays, which are a model.

        Args:
            node_id: the node's.
            request_id: the request's.
            missing: the places of the arrays that were left out and that the node lacks; None if it is sent
                for the first time on this stream.
        """
        awaited = self._requests.find(node_id, request_id)
        if awaited is None:
            return
        encoded = awaited.message.arrays
        if missing is None:
            left_out = encoded.find_known(self._find_held(awaited.message.run_id))
        else:
            sent_id, left_out = self._sent
            left_out = left_out - set(missing) if sent_id == request_id else frozenset()
        digests = encoded.all_digests if encoded.arrays else self._sent_digests
        del awaited, encoded
        if (yield from self._requests.frames(node_id, request_id, left_out)):
            self._sent = request_id, left_out
            self._sent_digests = digests

    def _find_held(self, run_id: int) -> frozenset[bytes]:
        """Return the digests of the arrays that the node has and that a message of this run may leave out."""
        if self._sent_digests is not None:
            return self._sent_digests
        return self._holding.digests if self._holding.run_id == run_id else frozenset()
