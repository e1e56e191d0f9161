"""A grid without a network, and a run on it up to the point where a step can be asked for."""

from collections.abc import Iterable, Mapping
from typing import Any

from flwr.app import ConfigRecord, Context, Error, Message, RecordDict
from flwr.serverapp import Grid
from flwr.supercore.run import Run

from fedmx.array_store import ArrayStore
from fedmx.link.flower import assign_id, empty_run, set_identity
from fedmx.settings import ServerSettings
from server import strategies
from server.collect import Collector
from server.engine import adapt
from server.layout import Layout
from server.model import GlobalModel
from server.nodes import Nodes
from server.replies import Replies
from server.reporting.reporter import Reporter
from server.rounds import RoundLoop
from server.update import records_of
from tests.server.nodes import NullNode, pack


class LocalGrid(Grid):
    """A grid without a network: a node has a number only, as on Flower's own, and is called on the spot.

    A node that is taken out of `nodes` is gone.

    Args:
        nodes: by number.
        reverse: replies come in the opposite order.
    """

    def __init__(self, nodes: Mapping[int, NullNode], *, reverse: bool = False) -> None:
        self.nodes = dict(nodes)
        self.sent: list[list[Message]] = []
        self._reverse = reverse
        self._replies: list[Message] = []
        self.set_run(empty_run(1))

    def set_run(self, run: Run) -> None:
        self._run = run
        set_identity(run.run_id, 1)

    @property
    def run(self) -> Run:
        return self._run

    def create_message(
        self,
        content: RecordDict,
        message_type: str,
        dst_node_id: int,
        group_id: str,
        ttl: float | None = None,
    ) -> Message:
        return Message(content, dst_node_id, message_type, ttl=ttl, group_id=group_id)

    def get_node_ids(self) -> Iterable[int]:
        return list(self.nodes)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        sent = list(messages)
        self.sent.append(sent)
        replies = [reply for message in sent if (reply := self._call(message)) is not None]
        self._replies = replies[::-1] if self._reverse else replies
        # A message that will have no reply is one that was not accepted: nothing waits for it.
        return [reply.metadata.reply_to_message_id for reply in replies]

    def pull_messages(self, _: Iterable[str]) -> Iterable[Message]:
        replies, self._replies = self._replies, []
        return replies

    def send_and_receive(
        self,
        messages: Iterable[Message],
        *,
        timeout: float | None = None,  # noqa: ARG002 - nothing here takes time
    ) -> Iterable[Message]:
        return self.pull_messages(self.push_messages(messages))

    def _call(self, message: Message) -> Message | None:
        assign_id(message)
        node = self.nodes.get(message.metadata.dst_node_id)
        if node is None:
            return None
        context = Context(1, message.metadata.dst_node_id, node_config={}, state=RecordDict(), run_config={})
        try:
            return node.make_app()(message, context)
        except ArithmeticError as error:
            return Message(Error(2, str(error)), reply_to=message)


class Table:
    """A run on a grid without a network, up to the point where a step can be asked for.

    Args:
        nodes: get numbers and partitions from 0 upwards.
        store: receives the arrays of replies; by default, all stay in memory.
        settings: of the server.

    Attributes:
        grid: its nodes have numbers and partitions from 0 upwards.
    """

    def __init__(self, nodes: list[NullNode], store: ArrayStore | None = None, **settings: Any) -> None:
        self.grid = LocalGrid(dict(enumerate(nodes)))
        given = {"num_partitions": len(nodes), "min_clients": len(nodes), "lease_grace": 0.0}
        self.settings = ServerSettings(**{**given, **settings})
        engine = adapt(self.grid, store=store)
        self.nodes = Nodes(engine, self.settings)
        self.nodes.await_start(0.0)
        self.plan = strategies.build(self.settings)
        self.model = GlobalModel(pack(nodes[0].initial), Layout.from_description(nodes[0].describe()))
        self.collector = Collector(engine, self.nodes, self.plan, self.settings, self.model)
        self.loop = RoundLoop(self.collector, self.nodes, self.plan, self.settings, Reporter())

    def collect(
        self, step: str, number: int = 1, attempt: int = 0, replies: Replies | None = None
    ) -> Replies:
        replies = replies or Replies()
        self.collector.collect(step, number, attempt, replies)
        return replies

    @property
    def strategy(self) -> Any:
        """The strategy, for a look at what only its kind has."""
        return self.plan.strategy

    def train_round(self, number: int = 1) -> None:
        """Ask for updates and aggregate them into the model."""
        self.loop._train(number, self.model, Replies())

    def asked(self) -> list[int]:
        """Return the partitions that the newest messages are for."""
        records = [records_of(message.content, ConfigRecord)[0] for message in self.grid.sent[-1]]
        return [int(str(record["partition"])) for record in records]
