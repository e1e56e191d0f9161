"""The grid that a strategy sees: the nodes of one step, and nothing that sends."""

from collections.abc import Iterable
from typing import NoReturn

from flwr.app import Message, RecordDict
from flwr.serverapp import Grid

from fedmx.link.flower import Run


class FrozenView(Grid):
    """The nodes a strategy may choose from, as they were when the step began.

    A strategy asks a grid only for its nodes; everything else belongs to the round loop. Flower's base class
    wants all of the methods below.
    """

    def __init__(self, node_ids: list[int]) -> None:
        self._node_ids = node_ids

    def get_node_ids(self) -> list[int]:
        """Return the nodes, in the fixed order."""
        return self._node_ids

    def set_run(self, run: Run) -> None:
        """Belongs to the grid itself."""
        self._refuse(run)

    @property
    def run(self) -> Run:
        """Belongs to the grid itself."""
        self._refuse()

    def create_message(
        self,
        content: RecordDict,
        message_type: str,
        dst_node_id: int,
        group_id: str,
        ttl: float | None = None,
    ) -> Message:
        """Belongs to the round loop."""
        self._refuse(content, message_type, dst_node_id, group_id, ttl)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Belongs to the round loop."""
        self._refuse(messages)

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Belongs to the round loop."""
        self._refuse(message_ids)

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        """Belongs to the round loop."""
        self._refuse(messages, timeout)

    def _refuse(self, *_: object) -> NoReturn:
        raise NotImplementedError("a strategy chooses nodes; sending is the round loop's")
