"""The grids that a run works on, behind one interface: the direct link, and Flower's own engines.

On the direct link nodes have names, come and go, and each transfer is measured. On an engine of Flower's a
node is its id, and nothing is known of it but whether it is listed, and whether it has replied.
"""

import contextlib
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Protocol, runtime_checkable

from flwr.app import ConfigRecord, Message
from flwr.serverapp import Grid

from fedmx.array_store import ArrayStore
from fedmx.link.flower import make_error_reply
from fedmx.link.member import NodeView
from fedmx.link.quorum import Absence, Cause, Grace, Quorum
from fedmx.link.request import Transfer
from server.flower_nodes import FlowerNodes

# Between two looks for replies at first. The pauses grow, so as to be no burden for a SuperLink.
_SHORTEST_PAUSE_S = 0.02


class NodeList(Protocol):
    """The nodes that joined; a `Roster` is one."""

    def nodes(self) -> list[NodeView]:
        """List every node that ever joined, in order of first joining."""

    def wait_for_change(self, timeout_s: float) -> None:
        """Return once a node joined, became ready or left, or after `timeout_s`."""

    def pin(self, description: ConfigRecord) -> None:
        """Compare nodes that join from now on with this description."""


@runtime_checkable
class Engine(Protocol):
    """What a run needs of a grid; a `LinkGrid` is one."""

    @property
    def roster(self) -> NodeList:
        """The nodes that joined."""

    @property
    def store(self) -> ArrayStore:
        """Where the arrays of replies are."""

    def send_and_receive(
        self,
        messages: Iterable[Message],
        *,
        timeout: float | None = None,
        quorum: Quorum | None = None,
        most_reply_bytes: float = math.inf,
        watch: Callable[[], float] = lambda: math.inf,
    ) -> Iterable[Message]:
        """Send messages and wait for their replies.

        Args:
            messages: one for each node.
            timeout: seconds that each node has.
            quorum: how many replies are enough; None: all.
            most_reply_bytes: the most bytes of arrays in a reply; on the direct link, a reply with more is
                dropped, and becomes an error.
            watch: called while replies are awaited, again after at most the seconds that it returns.
        """

    def transfer(self, reply: Message) -> Transfer | None:
        """Return the cost of a reply; None where it is not measured."""

    def find_absence(self, node_id: int) -> Absence:
        """Return why a node did not reply to the newest messages."""

    @property
    def deadlines(self) -> Mapping[int, float]:
        """Until when each reply is awaited that has not arrived: node id -> monotonic seconds."""

    @property
    def grace_ends(self) -> float:
        """When the step goes on without the replies that are awaited; infinity before there is a quorum."""

    @property
    def travelling(self) -> int:
        """How many messages and replies are on their way, whose deadlines move; 0 where it is not known."""

    def count_answered(self) -> int:
        """Return how many nodes have replied."""


class FlowerEngine:
    """An engine of Flower's: a SuperLink, or a simulation.

    Args:
        grid: the engine's.
        grace_s: how long a reply is awaited of a node that is no longer listed (LEASE_GRACE).
        store: receives the arrays of replies; by default, all stay in memory.
        roster: the nodes; by default, those that the grid lists.

    Attributes:
        longest_pause_s: between two looks for replies.
    """

    longest_pause_s = 0.5

    def __init__(
        self,
        grid: Grid,
        grace_s: float = math.inf,
        store: ArrayStore | None = None,
        roster: FlowerNodes | None = None,
    ) -> None:
        self.store = store or ArrayStore()
        self.roster = roster or FlowerNodes(grid)
        self._grid = grid
        self._grace_s = grace_s
        # Message id -> node id, while replies are awaited.
        self._awaited: dict[str, int] = {}
        self._deadline = math.inf
        self._grace = Grace(None)
        self._answered = 0
        # Node id -> why it did not reply; the others had no time left.
        self._absences: dict[int, Absence] = {}

    def send_and_receive(
        self,
        messages: Iterable[Message],
        *,
        timeout: float | None = None,
        quorum: Quorum | None = None,
        most_reply_bytes: float = math.inf,  # noqa: ARG002 - Flower receives a reply as a whole
        watch: Callable[[], float] = lambda: math.inf,
    ) -> Iterable[Message]:
        """Send messages and wait for their replies, at most `timeout` seconds.

        Flower's own `send_and_receive` looks for replies every 3 s, and does not show which are missing.
        A message to a node that is left out cannot be withdrawn: the node works on it, then on the next.
        """
        self._answered = 0
        self._absences = {}
        sent = list(messages)
        accepted = {*self._grid.push_messages(sent)}
        ids = {message.metadata.message_id: message.metadata.dst_node_id for message in sent}
        self._deadline = time.monotonic() + (math.inf if timeout is None else timeout)
        self._grace = Grace(quorum)
        self._awaited = {each: node_id for each, node_id in ids.items() if each in accepted}
        # Each message holds a model.
        del messages, sent
        with self.roster.listed_by_wait():
            replies = self._collect(watch)
        if self._grace.ends <= min(time.monotonic(), self._deadline):
            self._absences.update(dict.fromkeys(self._awaited.values(), Absence(Cause.LEFT_OUT)))
        self._awaited = {}
        return replies

    def transfer(self, _: Message) -> None:
        """Return None: Flower's engines do not measure it."""

    def find_absence(self, node_id: int) -> Absence:
        """Return why a node did not reply to the newest messages."""
        return self._absences.get(node_id, Absence(Cause.LATE))

    @property
    def deadlines(self) -> Mapping[int, float]:
        """Until when each reply is awaited that has not arrived."""
        return dict.fromkeys(self._awaited.copy().values(), self._deadline)

    @property
    def grace_ends(self) -> float:
        """When the step goes on without the replies that are awaited."""
        return self._grace.ends

    @property
    def travelling(self) -> int:
        """Return 0: Flower's engines do not report it."""
        return 0

    def count_answered(self) -> int:
        """Return how many nodes have replied."""
        return self._answered

    def _collect(self, watch: Callable[[], float]) -> list[Message]:
        """Look for replies until all have arrived or the time is over."""
        replies: list[Message] = []
        succeeded = 0
        pause_s = _SHORTEST_PAUSE_S
        while self._awaited:
            arrived = list(self.pull())
            replies.extend(arrived)
            succeeded += sum(not reply.has_error() for reply in arrived)
            self._grace.note(succeeded)
            ends = min(self._deadline, self._grace.ends)
            # What arrived in the last pause counts.
            if time.monotonic() >= ends:
                break
            if self._awaited:
                time.sleep(max(0.0, min(pause_s, watch(), ends - time.monotonic())))
            pause_s = min(self.longest_pause_s, 1.5 * pause_s)
            self._give_up_lost()
        return replies

    def pull(self) -> Iterator[Message]:
        """Pull the replies that have arrived."""
        for reply in self._grid.pull_messages(list(self._awaited)):
            node_id = self._awaited.pop(reply.metadata.reply_to_message_id, None)
            if node_id is None:
                continue
            self._answered += 1
            # An error that the engine itself replies with comes from the engine's own number.
            is_of_node = reply.metadata.src_node_id == node_id
            yield store_arrays(reply, self.store) if is_of_node else make_error_reply(node_id, reply)

    def _give_up_lost(self) -> None:
        """Stop waiting for nodes that have not been listed for LEASE_GRACE."""
        if not self._awaited or not self.roster.refresh_if_due():
            return
        now = time.monotonic()
        lost = {
            node.node_id
            for node in self.roster.nodes()
            if not node.is_present and now - node.since >= self._grace_s
        }
        self._absences.update(dict.fromkeys(lost & set(self._awaited.values()), Absence(Cause.LOST)))
        self._awaited = {each: node for each, node in self._awaited.items() if node not in lost}


def store_arrays(reply: Message, store: ArrayStore) -> Message:
    """Move a reply's arrays into the store, unless they cannot be read: these are rejected later."""
    if not reply.has_error():
        for record in reply.content.array_records.values():
            for name, array in record.items():
                with contextlib.suppress(ValueError):
                    record[name] = store.put(array)
    return reply


def adapt(grid: Grid | Engine, grace_s: float = math.inf, store: ArrayStore | None = None) -> Engine:
    """Return the grid as what a run works on.

    Args:
        grid: a grid of Flower's, or an engine, which is returned.
        grace_s: LEASE_GRACE, which an engine knows already.
        store: receives the arrays of replies; an engine has one already.
    """
    return grid if isinstance(grid, Engine) else FlowerEngine(grid, grace_s, store)
