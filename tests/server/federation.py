"""A server and nodes made of functions, as threads and processes with real streams between them."""

import json
import multiprocessing
import multiprocessing.process
import os
import socket
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fedmx.errors import FederationError
from fedmx.link.node import NodeLink
from fedmx.link.node_stream import LinkOptions
from fedmx.link.roster import Roster
from fedmx.link.server import LinkServer
from fedmx.protocol.control import Hello
from fedmx.settings import ServerSettings
from fedmx.values import Address
from server.compatibility import find_difference
from server.memory import open_store
from server.record.resume import choose_run
from server.reporting.reporters import build
from server.serving import run_to_goodbye
from tests.bounds import HANG_S
from tests.server.nodes import Config, Metrics, NullNode, Values, shift


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
