"""Sends requests to one node, on one stream, without the arrays and the requests that the node has."""

from collections.abc import Iterator

from fedmx.link.outbox import Outbox
from fedmx.link.quota import Quota
from fedmx.link.requests import Request, Requests
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
    """

    def __init__(self, requests: Requests, outbox: Outbox, quota: Quota) -> None:
        self._requests = requests
        self._outbox = outbox
        self._quota = quota
        self._holding = Holding()
        # Digests of the arrays of the newest message that was sent.
        self._newest: frozenset[bytes] | None = None
        # The newest request, and the places of the arrays that were left out of it.
        self._latest: tuple[str, frozenset[int]] = "", frozenset()

    def note(self, holding: Holding) -> None:
        """Note what the node has from an earlier stream."""
        self._holding = holding

    def ask(self, request: Request) -> None:
        """Send a request, or only its id if the node has it."""
        self._quota.count_request()
        if request.request_id in self._holding.request_ids:
            self._outbox.send([control.build_repeat(request.request_id)])
        else:
            self._requests.depart(request.node_id, request.request_id)
            self._outbox.send(self._cut(request))

    def ask_again(self, node_id: int, missing: pb.Missing) -> None:
        """Send a request again to a node that lacks some of its arrays, or all of it.

        Raises:
            ProtocolError: the node asked for it before.
        """
        self._quota.count_missing(missing.request_id)
        request_id, left_out = self._latest
        left_out = left_out - set(missing.arrays) if request_id == missing.request_id else frozenset()
        self._outbox.send(self._requests.frames(node_id, missing.request_id, left_out))

    def _cut(self, request: Request) -> Iterator[bytes]:
        """Yield a request's frames when its turn to be written comes; none if it is not awaited by then.

        Until then nothing here refers to its arrays, which are a model.
        """
        node_id, request_id = request.node_id, request.request_id
        del request
        awaited = self._requests.find(node_id, request_id)
        if awaited is None:
            return
        encoded = awaited.message.arrays
        left_out = encoded.find_known(self._find_held(awaited.message.run_id))
        self._latest = request_id, left_out
        if encoded.arrays:
            self._newest = encoded.all_digests
        del awaited, encoded
        yield from self._requests.frames(node_id, request_id, left_out)

    def _find_held(self, run_id: int) -> frozenset[bytes]:
        """Return the digests of the arrays that the node has and that a message of this run may leave out."""
        if self._newest is not None:
            return self._newest
        return self._holding.digests if self._holding.run_id == run_id else frozenset()
