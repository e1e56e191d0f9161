"""The grids that a run works on, behind one interface: the direct link, and Flower's own engines.

On the direct link nodes have names, come and go, and each transfer is measured. On an engine of Flower's a
node is its id, and nothing is known of it but whether it is listed.
"""

import time
from collections.abc import Iterable
from typing import Protocol, runtime_checkable

from flwr.app import ConfigRecord, Message
from flwr.serverapp import Grid

from fedmx.link.member import NodeView
from fedmx.link.requests import Transfer


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

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        """Send messages and wait for their replies, at most `timeout` seconds."""

    def transfer(self, reply: Message) -> Transfer | None:
        """Return the cost of a reply; None where it is not measured."""

    def progress(self, node_id: int) -> str | None:
        """Return how far an exchange got that took too long; None for a node whose connection was lost."""

    def list_unanswered(self) -> list[int] | None:
        """Return the ids of the nodes whose replies are awaited; None where it is not known."""

    def count_answered(self) -> int | None:
        """Return how many nodes have replied; None where it is not known."""


class FlowerEngine:
    """An engine of Flower's: a SuperLink, or a simulation."""

    def __init__(self, grid: Grid) -> None:
        self._grid = grid
        self.roster = FlowerNodes(grid)

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        """Send messages and wait for their replies, at most `timeout` seconds.

        A SuperLink replies itself for a node that it has lost, under an id of its own. To a run, such a node
        has not replied.
        """
        messages = list(messages)
        asked = {message.metadata.dst_node_id for message in messages}
        replies = self._grid.send_and_receive(messages, timeout=timeout)
        return [reply for reply in replies if reply.metadata.src_node_id in asked]

    def transfer(self, _: Message) -> None:
        """Flower's engines do not measure."""

    def progress(self, _: int) -> str:
        """Flower's engines do not show how far an exchange got."""
        return ""

    def list_unanswered(self) -> None:
        """Flower's engines do not show which nodes have replied."""

    def count_answered(self) -> None:
        """Flower's engines do not show how many nodes have replied."""


class FlowerNodes:
    """The nodes that a grid of Flower's lists. Each is ready, and describes itself only when it is asked."""

    def __init__(self, grid: Grid) -> None:
        self._grid = grid
        self._first_seen: dict[int, float] = {}

    def nodes(self) -> list[NodeView]:
        """List the nodes that are there now."""
        now = time.monotonic()
        seen = {node_id: self._first_seen.setdefault(node_id, now) for node_id in self._grid.get_node_ids()}
        return [
            NodeView(str(i), i, is_present=True, description=ConfigRecord(), since=since)
            for i, since in seen.items()
        ]

    def wait_for_change(self, timeout_s: float) -> None:
        """Wait for `timeout_s`: Flower's grids cannot notify of a change."""
        time.sleep(timeout_s)

    def pin(self, _: ConfigRecord) -> None:
        """Nodes that join later cannot be rejected here; their replies are checked like all others."""


def adapt(grid: Grid) -> Engine:
    """Return the grid as what a run works on."""
    return grid if isinstance(grid, Engine) else FlowerEngine(grid)
