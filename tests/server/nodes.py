"""Nodes made of functions: no MXNet in them, and everything between them and the server is the real thing."""

import json
import multiprocessing
import multiprocessing.process
import os
import socket
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Context, Error, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid
from flwr.supercore.run import Run
from numpy.typing import NDArray

from fedmx import arrays
from fedmx.array_store import ArrayStore
from fedmx.class_counts import RECORD
from fedmx.errors import FederationError
from fedmx.link.flower import assign_id, empty_run, set_identity
from fedmx.link.node import NodeLink
from fedmx.link.node_stream import LinkOptions
from fedmx.link.roster import Roster
from fedmx.link.server import LinkServer
from fedmx.protocol.control import Hello
from fedmx.settings import ServerSettings
from fedmx.values import Address
from server import strategies
from server.collect import Collector
from server.compatibility import find_difference
from server.engine import adapt
from server.layout import Layout
from server.memory import open_store
from server.model import GlobalModel
from server.nodes import Nodes
from server.record.resume import choose_run
from server.replies import Replies
from server.reporting.reporter import Reporter
from server.reporting.reporters import build
from server.rounds import RoundLoop
from server.serving import run_to_goodbye
from server.update import records_of
from tests.bounds import HANG_S

Values = dict[str, NDArray[Any]]
Metrics = dict[str, Any]
Config = dict[str, Any]

# One of Flower's error codes.
NODE_UNAVAILABLE = 5
GOOD: Metrics = {"loss": 0.5, "accuracy": 0.75, "num-examples": 10}


def pack(values: Mapping[str, NDArray[Any]]) -> ArrayRecord:
    return arrays.make_record({name: arrays.pack(value) for name, value in values.items()})


def unpack(record: Mapping[str, Any]) -> Values:
    return {name: arrays.view(array).copy() for name, array in record.items()}


def keep(values: Values, _: Config) -> tuple[Values, Metrics]:
    """Train nothing."""
    return values, GOOD


def shift(by: float, **metrics: float) -> Callable[[Values, Config], tuple[Values, Metrics]]:
    """Add a number to every value of the model."""
    return lambda values, _: (
        {name: value + value.dtype.type(by) for name, value in values.items()},
        GOOD | metrics,
    )


def measure(_: Values, __: Config) -> Metrics:
    return GOOD


class LostError(Exception):
    """Raised by a node's function to reply as Flower does for a node that was not there."""


def lose(_: Values, __: Config) -> tuple[Values, Metrics]:
    """Train nothing: the update is lost, and may come at another attempt."""
    raise LostError("the node is unavailable")


@dataclass
class NullNode:
    """One node: what it does with a message, and what it was asked.

    Attributes:
        train: (arrays, config) -> new arrays and metrics.
        evaluate: (arrays, config) -> metrics.
        counts: what an evaluation has counted by class; None: nothing.
        initial: the arrays that a run starts from.
        running: names of those that change without gradients.
        frozen: names of those that are never trained.
        received: the names of the arrays in each train and evaluate message.
        description: replaces or adds entries of its description.
        columns: a summary in JSON, which it sends as long as no schema is known; None: it needs no schema.
        asked: step, round and config of each message that reached it.
        outcome: how its program would have ended: the error, or None.
    """

    train: Callable[[Values, Config], tuple[Values, Metrics]] = keep
    evaluate: Callable[[Values, Config], Metrics] = measure
    counts: ConfigRecord | None = None
    initial: Values = field(default_factory=lambda: {"0.weight": np.zeros((2, 3), np.float32)})
    running: tuple[str, ...] = ()
    frozen: tuple[str, ...] = ()
    description: Mapping[str, Any] = field(default_factory=dict)
    columns: str | None = None
    asked: list[tuple[str, int, Config]] = field(default_factory=list)
    received: list[tuple[str, ...]] = field(default_factory=list)
    outcome: FederationError | None = None

    def asked_to(self, step: str) -> list[Config]:
        return [config for name, _, config in self.asked if name == step]

    def describe(self) -> ConfigRecord:
        heads = [
            json.dumps([name, value.dtype.name, value.shape, self._kind_of(name)])
            for name, value in self.initial.items()
        ]
        frozen = {name: self.initial[name] for name in self.frozen}
        entries: dict[str, Any] = {
            "task": "null",
            "arrays": heads,
            "metrics": ["accuracy", "loss"],
            "train-metrics": self.description.get("metrics", ["accuracy", "loss"]),
            "labels-sha256": "ab",
            "frozen-sha256": arrays.sha256(pack(frozen)) if frozen else "",
            "train-examples": 60,
            "test-examples": 30,
        }
        return ConfigRecord(entries | dict(self.description))

    def describe_when_ready(self) -> ConfigRecord:
        """Return what it describes when it joins, before the sites have agreed on columns."""
        return (
            self.describe() if self.columns is None else ConfigRecord({"task": "null", "needs-schema": True})
        )

    def _kind_of(self, name: str) -> str:
        if name in self.frozen:
            return "frozen"
        return "running" if name in self.running else "trained"

    def make_app(self) -> ClientApp:
        app = ClientApp()
        app.query()(self._query)
        app.train()(self._train)
        app.evaluate()(self._evaluate)
        return app

    def _query(self, message: Message, _: Context) -> Message:
        config = self._note("query", message)
        if self.columns is not None and not config["schema"]:
            summary = ConfigRecord({"columns": self.columns})
            return Message(RecordDict({"summary": summary}), reply_to=message)
        digest = arrays.sha256(pack(self.initial))
        description = ConfigRecord({**self.describe(), "initial-sha256": digest, **self.description})
        content = RecordDict({"description": description})
        if config["with-arrays"]:
            content["arrays"] = pack(self.initial)
        return Message(content, reply_to=message)

    def _train(self, message: Message, _: Context) -> Message:
        config = self._note("train", message)
        try:
            values, metrics = self.train(self._read(message), config)
        except LostError as error:
            return Message(Error(NODE_UNAVAILABLE, str(error)), reply_to=message)
        content = RecordDict({"arrays": pack(values), "metrics": MetricRecord(metrics)})
        return Message(content, reply_to=message)

    def _evaluate(self, message: Message, _: Context) -> Message:
        config = self._note("evaluate", message)
        metrics = self.evaluate(self._read(message), config)
        content = RecordDict({"metrics": MetricRecord(metrics)})
        if self.counts is not None:
            content[RECORD] = self.counts
        return Message(content, reply_to=message)

    def _read(self, message: Message) -> Values:
        values = unpack(records_of(message.content, ArrayRecord)[0])
        self.received.append(tuple(values))
        return values

    def _note(self, step: str, message: Message) -> Config:
        config = dict(records_of(message.content, ConfigRecord)[0])
        self.asked.append((step, int(message.metadata.group_id), config))
        return config


def fail_in(number: int) -> NullNode:
    """Return a node that ends the run in a round."""

    def train(values: Values, config: Config) -> tuple[Values, Metrics]:
        if config["server-round"] == number:
            raise ZeroDivisionError("the columns do not fit")
        return shift(1.0)(values, config)

    return NullNode(train)


class Federation:
    """A server and its nodes in this process, each node on a thread of its own, over gRPC on loopback."""

    def __init__(self, folder: Path) -> None:
        self.runs_dir = folder / "runs"

    def settings(self, nodes: int, **settings: Any) -> ServerSettings:
        """Return the settings of a run of one round with so many nodes; given settings replace them."""
        defaults = {
            "num_rounds": 1,
            "num_partitions": nodes,
            "min_clients": nodes,
            "client_wait_timeout": HANG_S,
            "round_timeout": HANG_S,
            "lease_grace": 0.2,
            "runs_dir": self.runs_dir,
            "listen_address": Address("127.0.0.1", _find_free_port()),
        }
        return ServerSettings(**{**defaults, **settings})

    def run(self, nodes: Mapping[str, NullNode | None], **settings: Any) -> None:
        """Run the server to its end, and every node to its own; the n-th node gets partition n.

        Args:
            nodes: by name; None is one in a process of its own, which is gone when it is to train in round 2.
            settings: of the server.

        Raises:
            FederationError: what would end the server's program.
        """
        chosen = self.settings(len(nodes), **settings)
        # As in the program: what fails here fails before any node waits for a goodbye.
        start = choose_run(chosen)
        roster = Roster(lambda one, other: find_difference(one, other, is_shared=chosen.partition.is_shared))
        server = LinkServer(
            chosen.listen_address,
            roster,
            max_model_bytes=2**20,
            lease_grace_s=chosen.lease_grace,
            store=open_store(chosen),
        )
        server.start()
        started = [_start(name, node, chosen.listen_address, roster) for name, node in nodes.items()]
        try:
            with build(chosen) as reporters:
                run_to_goodbye(server, chosen, start, reporters)
        finally:
            for one in started:
                one.join(HANG_S)
        assert not any(one.is_alive() for one in started)

    @property
    def folder(self) -> Path:
        return self.runs_dir / "latest"

    @property
    def facts(self) -> dict[str, Any]:
        facts: dict[str, Any] = json.loads((self.folder / "run.json").read_text())
        return facts

    @property
    def history(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.folder / "history.jsonl").read_text().splitlines()]

    @property
    def missing(self) -> list[list[str]]:
        """The names of the nodes that were missing, by round."""
        return [[node["name"] for node in line["missing"]] for line in self.history]

    @property
    def model(self) -> Values:
        return self.read("model")

    def read(self, name: str) -> Values:
        """Read a model of the run: `model` or `best`."""
        with np.load(self.folder / f"{name}.npz", allow_pickle=False) as file:
            return dict(file)


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


def _start(
    name: str, node: NullNode | None, address: Address, roster: Roster
) -> threading.Thread | multiprocessing.process.BaseProcess:
    """Start a node and wait until it is ready, so that nodes join in order."""
    started: threading.Thread | multiprocessing.process.BaseProcess
    if node is None:
        started = multiprocessing.get_context("spawn").Process(
            target=_serve_doomed, args=(name, address), daemon=True
        )
    else:
        started = threading.Thread(target=_serve, args=(name, node, address), name=name, daemon=True)
    started.start()
    while not any(member.name == name and member.is_ready for member in roster.nodes()):
        roster.wait_for_change(0.1)
    return started


def _serve(name: str, node: NullNode, address: Address) -> None:
    link = NodeLink(
        LinkOptions(address, Hello(name, is_name_given=True, max_model_bytes=2**20), wait_timeout_s=HANG_S)
    )
    link.start()
    try:
        link.serve(node.make_app(), node.describe_when_ready())
    except FederationError as error:
        node.outcome = error


def _serve_doomed(name: str, address: Address) -> None:
    def train(values: Values, config: Config) -> tuple[Values, Metrics]:
        if config["server-round"] == 2:
            os._exit(1)
        return shift(1.0)(values, config)

    _serve(name, NullNode(train), address)


def _find_free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
