"""A Flower `Grid` over the direct link: the nodes as a ServerApp sees them."""

import math
from collections.abc import Callable, Iterable, Mapping

from flwr.app import Message, RecordDict
from flwr.serverapp import Grid

from fedmx.array_store import ArrayStore
from fedmx.link.awaiting import Awaiting
from fedmx.link.flower import (
    SERVER_NODE_ID,
    Envelope,
    Run,
    assign_id,
    break_record_cycles,
    empty_run,
    rebuild_reply,
    set_identity,
)
from fedmx.link.quorum import Absence, Cause, Quorum
from fedmx.link.request import Answer, Request, Transfer
from fedmx.link.roster import Roster
from fedmx.link.server import LinkServer
from fedmx.link.turns import must_wait
from fedmx.protocol import encode
from fedmx.protocol import link_pb2 as pb

_ENCODED_AT_ONCE = 16
# The names and identities of a message's array records. All messages that carry the same share one encoding.
_Arrays = tuple[tuple[str, int], ...]


class LinkGrid(Grid):
    """Sends messages to the nodes of a `LinkServer` and collects their replies.

    A node that does not answer in time, or whose stream stays gone, is left out of the replies.
    """

    def __init__(self, server: LinkServer, run_id: int) -> None:
        self._server = server
        self._open: dict[str, tuple[Message, Request]] = {}
        self._transfers: dict[str, Transfer] = {}
        self._awaiting = Awaiting()
        self._absences: Mapping[int, Absence] = {}
        self.set_run(empty_run(run_id))
        break_record_cycles()

    @property
    def roster(self) -> Roster:
        """The nodes that have joined."""
        return self._server.roster

    @property
    def store(self) -> ArrayStore:
        """Where the arrays of replies are."""
        return self._server.store

    def set_run(self, run: Run) -> None:
        """Set the run that messages belong to."""
        self._run = run
        set_identity(run.run_id, SERVER_NODE_ID)

    @property
    def run(self) -> Run:
        """The run messages belong to."""
        return self._run

    def create_message(
        self,
        content: RecordDict,
        message_type: str,
        dst_node_id: int,
        group_id: str,
        ttl: float | None = None,
    ) -> Message:
        """Create a message to a node."""
        return Message(content, dst_node_id, message_type, ttl=ttl, group_id=group_id)

    def get_node_ids(self) -> Iterable[int]:
        """Return the ids of the nodes that can be sent work now."""
        return [node.node_id for node in self.roster.nodes() if node.is_ready]

    def push_messages(self, messages: Iterable[Message], most_reply_bytes: float = math.inf) -> Iterable[str]:
        """Send messages; arrays that several of them share are encoded once.

        Args:
            messages: to nodes.
            most_reply_bytes: the most bytes of arrays in a reply; a reply with more becomes an error.

        Raises:
            ValueError: a message cannot be sent; then none is awaited.
        """
        # The list keeps all records alive, so that each has an `id` of its own.
        messages = list(messages)
        encoded: dict[_Arrays, encode.EncodedArrays] = {}
        requests: list[Request] = []
        try:
            # The first nodes begin while the messages to others are encoded.
            for start in range(0, len(messages), _ENCODED_AT_ONCE):
                batch = messages[start : start + _ENCODED_AT_ONCE]
                made = [_make_request(message, encoded) for message in batch]
                reply_waits = must_wait(len(messages), made[0].message.arrays.size)
                for request in made:
                    request.reply_waits = reply_waits
                    request.most_reply_bytes = most_reply_bytes
                self._server.submit(made)
                requests += made
        except ValueError:
            self._server.withdraw(requests)
            raise
        message_ids = [assign_id(message) for message in messages]
        self._open.update(zip(message_ids, zip(messages, requests, strict=True), strict=True))
        return message_ids

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Return the replies that have arrived for these messages, each once."""
        replies = []
        for message_id in message_ids:
            message, request = self._open.get(message_id, (None, None))
            if message is None or request is None or not request.done.done():
                continue
            del self._open[message_id]
            answer = request.done.result()
            if answer is not None:
                replies.append(self._make_reply(message, answer))
        return replies

    def send_and_receive(
        self,
        messages: Iterable[Message],
        *,
        timeout: float | None = None,
        quorum: Quorum | None = None,
        most_reply_bytes: float = math.inf,
        watch: Callable[[], float] = lambda: math.inf,
    ) -> Iterable[Message]:
        """Send messages and wait until each is answered or its node is given up.

        Args:
            messages: one for each node.
            timeout: seconds that each node has; None: no limit.
            quorum: how many replies are enough; None: all.
            most_reply_bytes: the most bytes of arrays in a reply; a reply with more becomes an error.
            watch: called while replies are awaited, again after at most the seconds that it returns.

        Raises:
            ValueError: a message cannot be sent; then none is awaited.
        """
        self._transfers.clear()
        self._awaiting = Awaiting()
        message_ids = list(self.push_messages(messages, most_reply_bytes))
        requests = [self._open[message_id][1] for message_id in message_ids]
        self._awaiting = Awaiting(requests, math.inf if timeout is None else timeout, quorum)
        try:
            self._awaiting.wait(watch)
            self._absences = self._awaiting.find_absences()
            return list(self.pull_messages(message_ids))
        finally:
            self._awaiting.end()
            # The thread of the streams is only woken if there is something to withdraw.
            if unanswered := [request for request in requests if not request.done.done()]:
                self._server.withdraw(unanswered)
            for message_id in message_ids:
                self._open.pop(message_id, None)

    @property
    def deadlines(self) -> Mapping[int, float]:
        """When the wait for each missing reply ends, by node id; any thread may read it."""
        return self._awaiting.find_deadlines()

    @property
    def grace_ends(self) -> float:
        """When the step goes on without the replies that are awaited; any thread may read it."""
        return self._awaiting.grace_ends

    @property
    def travelling(self) -> int:
        """How many requests and replies are on their way; any thread may read it."""
        return self._awaiting.travelling

    def count_answered(self) -> int:
        """Return how many nodes have replied, without those that were given up; any thread may call this."""
        return self._awaiting.answered

    def transfer(self, reply: Message) -> Transfer | None:
        """Return what a reply of the latest `send_and_receive` cost."""
        return self._transfers.get(reply.metadata.message_id)

    def find_absence(self, node_id: int) -> Absence:
        """Return why a node did not reply in the latest `send_and_receive`."""
        return self._absences.get(node_id, Absence(Cause.LOST))

    def _make_reply(self, message: Message, answer: Answer) -> Message:
        metadata = message.metadata
        about = Envelope(metadata.run_id, metadata.message_type, metadata.group_id, metadata.dst_node_id)
        reply = rebuild_reply(about, metadata.message_id, answer.content)
        self._transfers[reply.metadata.message_id] = answer.transfer
        return reply


def _make_request(message: Message, encoded: dict[_Arrays, encode.EncodedArrays]) -> Request:
    key = tuple((name, id(record)) for name, record in message.content.array_records.items())
    if key not in encoded:
        encoded[key] = encode.encode_arrays(message.content)
    metadata = message.metadata
    header = pb.Header(message_type=metadata.message_type, group_id=metadata.group_id, run_id=metadata.run_id)
    return Request(metadata.dst_node_id, encode.encode(header, message.content, encoded[key]))
