"""The grid of Flower's simulation engine as a run works on it: with names of nodes, and with progress."""

import time
from collections.abc import Callable, Iterable

from flwr.app import ConfigRecord, Message, RecordDict
from flwr.serverapp import Grid

from fedmx.link.flower import Run
from fedmx.link.member import NodeView
from fedmx.pki.authority import LOCAL_SITE

_TICK_S = 0.05


class VirtualNodes:
    """The virtual nodes, which are all present from the first to the last moment.

    Args:
        node_ids: their ids.
    """

    def __init__(self, node_ids: Iterable[int]) -> None:
        since = time.monotonic()
        self._views = [
            NodeView(
                # The names of `make run`, where all clients are of one site.
                f"{LOCAL_SITE}.node-{number}",
                node_id,
                is_present=True,
                description=ConfigRecord(),
                since=since,
                site=LOCAL_SITE,
            )
            for number, node_id in enumerate(sorted(node_ids), start=1)
        ]

    def nodes(self) -> list[NodeView]:
        """List the nodes."""
        return self._views

    def wait_for_change(self, timeout_s: float) -> None:
        """Wait for `timeout_s`: the nodes never change."""
        time.sleep(timeout_s)

    def pin(self, _: ConfigRecord) -> None:
        """No node joins later."""


class SimulationGrid(Grid):
    """The engine's grid, whose waits end if the engine fails.

    Args:
        grid: the engine's.
        check: raises an exception if the engine has failed.

    Attributes:
        roster: the virtual nodes.
    """

    def __init__(self, grid: Grid, check: Callable[[], None]) -> None:
        self.roster = VirtualNodes(grid.get_node_ids())
        self._grid = grid
        self._check = check
        # Message -> node.
        self._awaited: dict[str, int] = {}
        self._answered = 0

    def set_run(self, run: Run) -> None:
        """Set the run that messages belong to."""
        self._grid.set_run(run)

    @property
    def run(self) -> Run:
        """The run that messages belong to."""
        return self._grid.run

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
        """Return the ids of the virtual nodes."""
        return [node.node_id for node in self.roster.nodes()]

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Send messages, and return their ids."""
        return self._grid.push_messages(messages)

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Return the replies that have arrived."""
        return self._grid.pull_messages(message_ids)

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        """Send messages and wait for their replies, at most `timeout` seconds."""
        sent = list(messages)
        ids = self.push_messages(sent)
        self._answered = 0
        self._awaited = {
            message_id: message.metadata.dst_node_id for message_id, message in zip(ids, sent, strict=True)
        }
        # Each message holds a model.
        del messages, sent
        deadline = float("inf") if timeout is None else time.monotonic() + timeout
        replies: list[Message] = []
        while self._awaited and time.monotonic() < deadline:
            self._check()
            arrived = list(self.pull_messages(self._awaited))
            self._answered += len(arrived)
            replies.extend(arrived)
            for reply in arrived:
                self._awaited.pop(reply.metadata.reply_to_message_id, None)
            if not arrived:
                time.sleep(_TICK_S)
        return replies

    def list_unanswered(self) -> list[int]:
        """Return the ids of the nodes whose replies are awaited; any thread may call this."""
        return list(self._awaited.values())

    def count_answered(self) -> int:
        """Return how many nodes have replied; any thread may call this."""
        return self._answered

    def transfer(self, _: Message) -> None:
        """Nothing travels through a network."""

    def progress(self, _: int) -> str:
        """Workers do not report how far they are."""
        return ""
