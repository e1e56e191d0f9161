"""The requests whose answers the server awaits: plain bookkeeping, without sockets."""

import time
from collections.abc import Callable, Collection, Generator, Iterable

from flwr.app import Array, Error, RecordDict

from fedmx.errors import FederationError
from fedmx.link.quorum import Cause
from fedmx.link.request import Answer, Request, Transfer
from fedmx.link.travel import Where
from fedmx.protocol import control

_SMALL_BYTES = 65_536


class Requests:
    """The requests that wait for an answer. Equal ones to one node are sent once, and answered together.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._waiting: dict[int, dict[str, list[Request]]] = {}

    def add(self, request: Request) -> bool:
        """Add a request; return whether no equal one is awaited, so that it has to be sent."""
        request.asked_at = self._clock()
        equal = self._waiting.setdefault(request.node_id, {}).setdefault(request.request_id, [])
        if equal:
            request.travel = equal[0].travel
        equal.append(request)
        return len(equal) == 1

    def withdraw(self, request: Request) -> bool:
        """Remove a request; return whether no equal one is awaited any longer."""
        equal = self._equal(request.node_id, request.request_id)
        if request not in equal:
            return False
        equal.remove(request)
        if equal:
            return False
        self._remove(request.node_id, request.request_id)
        return True

    def _equal(self, node_id: int, request_id: str) -> list[Request]:
        return self._waiting.get(node_id, {}).get(request_id, [])

    def _remove(self, node_id: int, request_id: str) -> list[Request]:
        """Remove the requests of one digest to a node, and the node if nothing else of it is awaited."""
        of_node = self._waiting.get(node_id, {})
        equal = of_node.pop(request_id, [])
        if not of_node:
            self._waiting.pop(node_id, None)
        return equal

    def awaits(self, node_id: int) -> bool:
        """Return whether any answer of a node is awaited."""
        return bool(self._waiting.get(node_id))

    def of_node(self, node_id: int) -> list[Request]:
        """Return what has to be sent to a node, in the order in which it was added."""
        return [equal[0] for equal in self._waiting.get(node_id, {}).values()]

    def find(self, node_id: int, request_id: str) -> Request | None:
        """Return a request that is awaited; None if it is not."""
        equal = self._equal(node_id, request_id)
        return equal[0] if equal else None

    def find_array(self, node_id: int, request_id: str, digest: bytes) -> Array | None:
        """Return an array to which the reply to a request may refer: one that this node was sent or has sent.

        Nothing else is searched: otherwise a site could test a guess of what another one has.
        """
        request = self.find(node_id, request_id)
        if request is None:
            return None
        sent = request.message.arrays.find(digest)
        return request.find_kept(digest) if sent is None else sent

    def keep_arrived(self, node_id: int, request_id: str, received: Iterable[Array]) -> None:
        """Keep the complete arrays of a reply whose stream broke, so that they are not sent again."""
        request = self.find(node_id, request_id)
        if request is not None:
            request.keep(received)

    def queue(self, node_id: int, request_id: str) -> None:
        """Note that a request waits for its turn to be written."""
        for request in self._equal(node_id, request_id):
            request.queue()

    def frames(
        self, node_id: int, request_id: str, left_out: Collection[int] = ()
    ) -> Generator[bytes, None, bool]:
        """Yield a request's frames while it is awaited; return whether these were all.

        Args:
            node_id: the node's.
            request_id: the request's.
            left_out: the places of the arrays that the node has.
        """
        equal = self._equal(node_id, request_id)
        if not equal:
            return False
        for request in equal:
            request.depart(request.message.count_bytes(left_out))
        for frame in equal[0].message.frames(left_out, reply_waits=equal[0].reply_waits):
            if self._equal(node_id, request_id) is not equal:
                yield control.build_withdraw(request_id)
                return False
            for request in equal:
                request.write(len(frame))
            yield frame
        for request in equal:
            if request.travel.where is not Where.DOWN:
                # The reply has begun to arrive before this was noted.
                continue
            # The kernel takes this much at once, so it is not worth a look at what it has sent.
            if request.bytes_sent <= _SMALL_BYTES:
                request.rest()
            else:
                request.is_written = True
        return True

    def note_arrival(self, node_id: int, request_id: str, arrived: int, total: int) -> None:
        """Note how many of an answer's array bytes have arrived."""
        for request in self._equal(node_id, request_id):
            request.reply_arrived = arrived
            request.reply_total = total
            request.is_written = False
            if request.travel.where is not Where.UP:
                request.travel.go(Where.UP, total)

    def break_off(self, node_id: int) -> None:
        """Note that a node's stream is gone: nothing of its requests is on its way any more."""
        for equal in self._waiting.get(node_id, {}).values():
            for request in equal:
                request.break_off()

    def settle(self, node_id: int, request_id: str, content: RecordDict | Error, bytes_up: int) -> bool:
        """Pass an answer to all requests that await it; return whether there was any."""
        equal = self._remove(node_id, request_id)
        for request in equal:
            seconds = self._clock() - request.asked_at
            request.settle(Answer(content, Transfer(request.bytes_down, bytes_up, seconds)))
        return bool(equal)

    def fail(self, error: FederationError) -> None:
        """End the wait for all answers with an error of this server."""
        waiting, self._waiting = self._waiting, {}
        for of_node in waiting.values():
            for request in (request for equal in of_node.values() for request in equal):
                if not request.done.done():
                    request.done.set_exception(error)

    def give_up(self, node_id: int, cause: Cause = Cause.LOST) -> None:
        """End the wait for all answers of a node."""
        for equal in self._waiting.pop(node_id, {}).values():
            for request in equal:
                request.give_up(cause)
