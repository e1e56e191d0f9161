"""A server and nodes in one process, over real sockets."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import fields
from typing import Any

import numpy as np
from flwr.app import ConfigRecord, Context, Message, MessageType, RecordDict
from flwr.clientapp import ClientApp

from fedmx import arrays
from fedmx.errors import FederationError
from fedmx.link.grid import LinkGrid
from fedmx.link.node import NodeLink
from fedmx.link.node_stream import LinkOptions, NodeStream
from fedmx.link.roster import Roster
from fedmx.link.server import LinkServer
from fedmx.protocol import link_pb2 as pb
from fedmx.protocol.control import Hello
from fedmx.values import Address
from tests.bounds import HANG_S
from tests.federation.chaos.cable import Cable
from tests.fedmx.protocol.wire import GIGABYTE, pack
from tests.ports import find_free_port

PATIENCE_S = HANG_S
# For timeouts that must not be what ends a wait.
FOREVER_S = 3600.0
RUN_ID = 7


def echo(message: Message) -> RecordDict:
    return message.content


def change(message: Message) -> RecordDict:
    """Change every array, as training does: what is unchanged is not sent back."""
    changed = RecordDict()
    for name, record in message.content.array_records.items():
        changed[name] = pack({key: np.add(arrays.view(array), np.uint8(1)) for key, array in record.items()})
    return changed


class Worker:
    """An app that does one thing with every message, and remembers what it was asked.

    Attributes:
        asked: the rounds it was asked for, in order.
        begun: set when it began to work.
        gate: it works until this is set.
    """

    def __init__(self, work: Callable[[Message], Any] = echo) -> None:
        self.asked: list[str] = []
        self.begun = threading.Event()
        self.gate = threading.Event()
        self.gate.set()
        self._work = work
        self.app = ClientApp()
        for register in (self.app.query, self.app.train, self.app.evaluate):
            register()(self._answer)

    def _answer(self, message: Message, _: Context) -> Message:
        self.asked.append(message.metadata.group_id)
        self.begun.set()
        assert self.gate.wait(PATIENCE_S)
        result = self._work(message)
        return Message(result, reply_to=message) if isinstance(result, RecordDict) else result


class Node:
    """A node on a thread of its own."""

    def __init__(
        self, address: Address, name: str = "node", worker: Worker | None = None, **options: Any
    ) -> None:
        self.worker = worker or Worker()
        self.outcome: FederationError | None = None
        introduction: dict[str, Any] = {"is_name_given": True, "max_model_bytes": GIGABYTE}
        introduction |= {
            key: options.pop(key) for key in [each.name for each in fields(Hello)] if key in options
        }
        chosen = {"wait_timeout_s": PATIENCE_S, "credentials": options.pop("own", None), **options}
        self._link = NodeLink(LinkOptions(address, Hello(name, **introduction), **chosen))
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._link.start()

    def serve(self, description: ConfigRecord | None = None) -> "Node":
        self._description = ConfigRecord() if description is None else description
        self._thread.start()
        return self

    def join(self) -> FederationError | None:
        """Wait for its end; return how it ended."""
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()
        return self.outcome

    @property
    def stream(self) -> NodeStream:
        """The stream on which it was welcomed."""
        assert self._link._stream is not None
        return self._link._stream

    @property
    def waiting(self) -> list[str]:
        """The rounds that it was asked for and has not begun."""
        return [request.header.group_id for request in list(self._link._inbox._waiting.values())]

    @property
    def has_cached_reply(self) -> bool:
        return bool(self._link._reply_cache._replies)

    def _serve(self) -> None:
        try:
            self._link.serve(self.worker.app, self._description)
        except FederationError as error:
            self.outcome = error


class Hub:
    """A server with its grid, and the nodes that were started against it."""

    def __init__(self, port: int = 0, **options: Any) -> None:
        self.address = Address(options.pop("host", "127.0.0.1"), port or find_free_port())
        self.roster = Roster(options.pop("find_difference", lambda _one, _other: None))
        chosen = {"max_model_bytes": GIGABYTE, "lease_grace_s": PATIENCE_S, **options}
        self.server = LinkServer(self.address, self.roster, **chosen)
        self.server.start()
        self.grid = LinkGrid(self.server, RUN_ID)
        self.nodes: list[Node] = []
        self.cables: list[Cable] = []
        self._is_open = True

    def lay_cable(self) -> "Cable":
        """Return a connection to the server that can be cut."""
        self.cables.append(Cable(self.address.port))
        return self.cables[-1]

    def start(self, name: str = "node", worker: Worker | None = None, **options: Any) -> Node:
        """Start a node and wait until it is ready."""
        address = options.pop("address", self.address)
        description = options.pop("description", None)
        node = Node(address, name, worker, **options).serve(description)
        self.nodes.append(node)
        self.await_ready(name)
        return node

    def await_ready(self, name: str) -> None:
        self.wait_until(lambda: any(n.name == name and n.is_ready for n in self.roster.nodes()))

    def await_gone(self, name: str) -> None:
        self.wait_until(lambda: all(n.name != name or not n.is_present for n in self.roster.nodes()))

    def await_return(self, name: str, leave: Callable[[], None]) -> None:
        """Let a node lose its stream, and wait until it is ready on another one."""

        def list_joins() -> list[float]:
            return [node.since for node in self.roster.nodes() if node.name == name and node.is_ready]

        before = list_joins()
        leave()
        self.wait_until(lambda: list_joins() not in ([], before))

    def wait_until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < deadline
            self.roster.wait_for_change(0.05)

    def node_id(self, name: str = "node") -> int:
        return next(node.node_id for node in self.roster.nodes() if node.name == name)

    def message(
        self,
        content: RecordDict | None = None,
        name: str = "node",
        number: int = 1,
        step: str = MessageType.TRAIN,
    ) -> Message:
        content = RecordDict({"arrays": pack({"a": np.arange(3.0)})}) if content is None else content
        return Message(content, self.node_id(name), step, group_id=str(number))

    def ask(self, *messages: Message, timeout: float = PATIENCE_S) -> list[Message]:
        return list(self.grid.send_and_receive(messages or [self.message()], timeout=timeout))

    def ask_in_background(self, *messages: Message, timeout: float = PATIENCE_S) -> "Background":
        """Ask on another thread."""
        return Background(lambda: self.ask(*messages, timeout=timeout))

    def stop(self, outcome: "pb.Goodbye.Outcome | None" = pb.Goodbye.FINISHED, reason: str = "") -> None:
        if self._is_open:
            self._is_open = False
            self.server.stop(outcome, reason)


class Background:
    """A call on another thread, and its result or its exception, such as that of a server that has ended."""

    def __init__(self, do: Callable[[], list[Message]]) -> None:
        self._done: Future[list[Message]] = Future()
        threading.Thread(target=self._run, args=(do,), daemon=True).start()

    def get(self) -> list[Message]:
        return self._done.result(PATIENCE_S)

    def _run(self, do: Callable[[], list[Message]]) -> None:
        try:
            self._done.set_result(do())
        except Exception as error:  # noqa: BLE001 - `get` raises it
            self._done.set_exception(error)
