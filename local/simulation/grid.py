"""The grid of Flower's simulation engine as a run works on it: with names of nodes, and with progress."""

import math
import time
from collections.abc import Callable, Iterable, Mapping

from flwr.app import ConfigRecord, Message, RecordDict
from flwr.serverapp import Grid

from fedmx.array_store import ArrayStore
from fedmx.link.flower import Run
from fedmx.link.member import NodeView
from fedmx.link.quorum import Absence, Cause, Grace, Quorum
from fedmx.pki.authority import LOCAL_SITE
from server.engine import store_arrays

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
        store: receives the arrays of replies; by default, all stay in memory.

    Attributes:
        roster: the virtual nodes.
        store: where the arrays of replies are.
    """

    def __init__(self, grid: Grid, check: Callable[[], None], store: ArrayStore | None = None) -> None:
        self.store = store or ArrayStore()
        self.roster = VirtualNodes(grid.get_node_ids())
        self._grid = grid
        self._check = check
        # Message -> node.
        self._awaited: dict[str, int] = {}
        self._answered = 0
        self._deadline = math.inf
        self._grace = Grace(None)
        self._left_out: set[int] = set()

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
        self, messages: Iterable[Message], *, timeout: float | None = None, quorum: Quorum | None = None
    ) -> Iterable[Message]:
        """Send messages and wait for their replies, at most `timeout` seconds.

        A message to a node that is left out cannot be withdrawn: a worker still trains the node.
        """
        self._answered = 0
        self._left_out = set()
        sent = list(messages)
        ids = self.push_messages(sent)
        self._deadline = math.inf if timeout is None else time.monotonic() + timeout
        self._grace = Grace(quorum)
        self._awaited = {
            message_id: message.metadata.dst_node_id for message_id, message in zip(ids, sent, strict=True)
        }
        # Each message holds a model.
        del messages, sent
        replies = self._collect()
        if self._grace.ends <= min(time.monotonic(), self._deadline):
            self._left_out.update(self._awaited.values())
        self._awaited = {}
        return replies

    def _collect(self) -> list[Message]:
        """Look for replies until all have arrived or the time is over."""
        replies: list[Message] = []
        succeeded = 0
        while self._awaited:
            self._check()
            arrived = list(self.pull_messages(self._awaited))
            self._answered += len(arrived)
            replies.extend(arrived)
            for reply in arrived:
                store_arrays(reply, self.store)
                self._awaited.pop(reply.metadata.reply_to_message_id, None)
                succeeded += not reply.has_error()
            self._grace.note(succeeded)
            # What arrived in the last pause counts.
            if time.monotonic() >= min(self._deadline, self._grace.ends):
                break
            if not arrived:
                time.sleep(_TICK_S)
        return replies

    @property
    def deadlines(self) -> Mapping[int, float]:
        """Until when each reply is awaited that has not arrived; any thread may read it."""
        return dict.fromkeys(self._awaited.copy().values(), self._deadline)

    @property
    def grace_ends(self) -> float:
        """When the step goes on without the replies that are awaited."""
        return self._grace.ends

    @property
    def travelling(self) -> int:
        """Nothing travels through a network."""
        return 0

    def count_answered(self) -> int:
        """Return how many nodes have replied; any thread may call this."""
        return self._answered

    def transfer(self, _: Message) -> None:
        """Nothing travels through a network."""

    def find_absence(self, node_id: int) -> Absence:
        """Return why a node did not reply: workers do not report how far they are."""
        return Absence(Cause.LEFT_OUT if node_id in self._left_out else Cause.LATE)
