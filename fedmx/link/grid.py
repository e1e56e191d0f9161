"""A Flower `Grid` over the direct link: what a ServerApp sees of its nodes."""

import concurrent.futures
import time
from collections.abc import Iterable
from dataclasses import dataclass

from flwr.app import Message, RecordDict
from flwr.serverapp import Grid

from fedmx.link import codec
from fedmx.link import link_pb2 as pb
from fedmx.link.messages import SERVER_NODE_ID, Envelope, Run, empty_run, give_id, rebuild_reply, set_identity
from fedmx.link.roster import Roster
from fedmx.link.server import Answer, LinkServer, Request


@dataclass(frozen=True)
class Transfer:
    """What a request and its reply cost."""

    bytes_down: int
    bytes_up: int
    seconds: float


class LinkGrid(Grid):
    """Sends messages to the nodes of a `LinkServer` and collects their replies.

    A node that does not answer in time, or whose stream stays gone, is left out of the replies; whoever asks knows
    whom they asked.
    """

    def __init__(self, server: LinkServer, run_id: int) -> None:
        self._server = server
        self._open: dict[str, tuple[Message, Request]] = {}
        self._transfers: dict[str, Transfer] = {}
        self.set_run(empty_run(run_id))

    @property
    def roster(self) -> Roster:
        """Who has joined."""
        return self._server.roster

    def set_run(self, run: Run) -> None:
        """Say which run messages belong to."""
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
        """Make a message to a node."""
        return Message(content, dst_node_id, message_type, ttl=ttl, group_id=group_id)

    def get_node_ids(self) -> Iterable[int]:
        """Give the nodes that can be sent work now."""
        return [node.node_id for node in self.roster.nodes() if node.is_ready]

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Send messages; arrays that several of them share are encoded once."""
        encoded: dict[tuple[int, ...], codec.EncodedArrays] = {}
        pushed = [self._make_request(message, encoded) for message in messages]
        self._server.submit([request for _, request in pushed])
        return [message_id for message_id, _ in pushed]

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Give the replies that have come for these messages, each once."""
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
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        """Send messages and wait until each is answered or its node is given up, at most `timeout` seconds."""
        self._transfers.clear()
        message_ids = list(self.push_messages(messages))
        requests = [self._open[message_id][1] for message_id in message_ids]
        try:
            concurrent.futures.wait([request.done for request in requests], timeout)
            return list(self.pull_messages(message_ids))
        finally:
            self._server.withdraw(requests)
            for message_id in message_ids:
                self._open.pop(message_id, None)

    def transfer(self, reply: Message) -> Transfer | None:
        """Tell what a reply of the last `send_and_receive` cost."""
        return self._transfers.get(reply.metadata.message_id)

    def _make_request(
        self, message: Message, encoded: dict[tuple[int, ...], codec.EncodedArrays]
    ) -> tuple[str, Request]:
        records = tuple(id(record) for record in message.content.array_records.values())
        if records not in encoded:
            encoded[records] = codec.encode_arrays(message.content)
        metadata = message.metadata
        header = pb.Header(
            message_type=metadata.message_type, group_id=metadata.group_id, run_id=metadata.run_id
        )
        codec.encode_header(header, message.content, encoded[records])
        request = Request(metadata.dst_node_id, header, encoded[records])
        message_id = give_id(message)
        self._open[message_id] = (message, request)
        return message_id, request

    def _make_reply(self, message: Message, answer: Answer) -> Message:
        metadata = message.metadata
        about = Envelope(metadata.run_id, metadata.message_type, metadata.group_id, metadata.dst_node_id)
        reply = rebuild_reply(about, metadata.message_id, answer.envelope.content)
        self._transfers[reply.metadata.message_id] = Transfer(
            answer.bytes_down, answer.bytes_up, answer.seconds
        )
        return reply
