"""`python -m bench.open_port`: how much a crowd at the server's port slows down rounds and joining nodes.

The crowd is 500 connections that send nothing, and 50 nodes that send a valid hello and then one byte per
second, all on loopback with mutual TLS. Rounds with and without it alternate, so that a change of the
machine's speed affects both; a round sends the model to two nodes and back, then to both again.
"""

import json
import secrets
import socket
import statistics
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

import numpy as np
from flwr.app import ArrayRecord, Message, MessageType, RecordDict
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from bench.engines.direct_link import MAX_MODEL_BYTES, create_certificates
from bench.flower_app.null_app.model import make_arrays
from bench.flower_app.null_app.rounds import NODES
from bench.processes import Children, free_port, wait_for_port, wait_until
from fedmx.link.grid import LinkGrid
from fedmx.link.node import NodeLink
from fedmx.link.node_stream import LinkOptions
from fedmx.link.roster import Roster
from fedmx.link.server import LinkServer
from fedmx.memory import share_heap
from fedmx.pki.access import PeerVerifier
from fedmx.pki.authority import LOCAL_SITE
from fedmx.pki.certificates import REVOKED_FILE, SERVER, SITE
from fedmx.pki.credentials import read_credentials
from fedmx.program import run_program
from fedmx.protocol import link_pb2 as pb
from fedmx.protocol.control import Hello
from fedmx.values import Address
from tests.fedmx.link.crowd import Crowd

SILENT, DRIBBLING = 500, 50
REPEATS, JOINS, ROUNDS = 6, 5, {"small": 40, "large": 4}
_LIMIT_S = 60.0


@dataclass
class Samples:
    """Seconds of rounds, by size of the model, and of joining."""

    rounds: dict[str, list[float]] = field(default_factory=lambda: {size: [] for size in ROUNDS})
    joins: list[float] = field(default_factory=list)


def main() -> None:
    """Measure and print a table."""
    quiet, crowded = Samples(), Samples()
    with Children() as children, ExitStack() as stack:
        pki = children.folder / "pki"
        port = free_port()
        create_certificates(pki)
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        listener.settimeout(_LIMIT_S)

        def start(role: str) -> TextIO:
            arguments = (role, str(listener.getsockname()[1]), str(port), str(pki))
            children.start_module(f"{role}-{secrets.token_hex(4)}", "bench.open_port", *arguments)
            return stack.enter_context(stack.enter_context(listener.accept()[0]).makefile("rw"))

        server = start("server")
        wait_for_port(port)
        for node in range(NODES):
            children.start_module(
                f"node-{node}",
                "bench.engines.direct_link",
                *("node", str(port), "small", str(node), "1", str(pki)),
            )
        for size in ROUNDS:
            _request(server, f"{size} 3")
        for _ in range(REPEATS):
            _measure(server, port, pki, quiet)
            crowd = start("crowd")
            # The crowd is complete.
            crowd.readline()
            _measure(server, port, pki, crowded)
            _request(crowd, "go")
    _show(quiet, crowded)


def _measure(server: TextIO, port: int, pki: Path, samples: Samples) -> None:
    for size, number in ROUNDS.items():
        samples.rounds[size] += json.loads(_request(server, f"{size} {number}"))
    samples.joins += [_time_joining(port, pki) for _ in range(JOINS)]


def _time_joining(port: int, pki: Path) -> float:
    """Return the seconds in which another node joins; it stays until this process ends."""
    options = LinkOptions(
        address=Address("127.0.0.1", port),
        hello=Hello(f"late-{secrets.token_hex(4)}", is_name_given=True, max_model_bytes=MAX_MODEL_BYTES),
        wait_timeout_s=_LIMIT_S,
        credentials=read_credentials(pki / "sites" / LOCAL_SITE, SITE),
    )
    link = NodeLink(options)
    started = time.perf_counter()
    link.start()
    wait_until(lambda: link.is_member, _LIMIT_S, "joining", every_s=0.0005)
    return time.perf_counter() - started


def _request(program: TextIO, line: str) -> str:
    print(line, file=program, flush=True)
    return program.readline()


def _show(quiet: Samples, crowded: Samples) -> None:
    table = Table(title=f"{SILENT} silent connections, {DRIBBLING} slow ones; medians in milliseconds")
    for title in ("", "samples", "without", "with", "ratio"):
        table.add_column(title, justify="right" if title else "left")
    rows = {f"a round of the {size} model": (quiet.rounds[size], crowded.rounds[size]) for size in ROUNDS}
    for name, samples in {**rows, "to join": (quiet.joins, crowded.joins)}.items():
        without, with_them = (1000 * statistics.median(seconds) for seconds in samples)
        figures = (f"{without:.1f}", f"{with_them:.1f}", f"{with_them / without:.3f}")
        table.add_row(name, str(len(samples[0])), *figures)
    Console(width=None if Console().is_terminal else 100).print(table)


def serve(lines: TextIO, port: int, pki: Path) -> None:
    """Run the number of rounds in each line."""
    verifier = PeerVerifier(read_credentials(pki / "server", SERVER), pki / "server" / REVOKED_FILE)
    address = Address("127.0.0.1", port)
    roster = Roster(lambda _first, _second: None)
    server = LinkServer(
        address, roster, max_model_bytes=MAX_MODEL_BYTES, lease_grace_s=10.0, verifier=verifier
    )
    server.start()
    grid = LinkGrid(server, 1)
    wait_until(lambda: len(list(grid.get_node_ids())) == NODES, _LIMIT_S, "nodes")
    models = {size: make_arrays(size) for size in ROUNDS}
    for line in lines:
        size, number = line.split()
        seconds = [_run_round(grid, models[size]) for _ in range(int(number))]
        print(json.dumps(seconds), file=lines, flush=True)
    server.stop(pb.Goodbye.FINISHED)


def _run_round(grid: LinkGrid, model: list[NDArray[np.float32]]) -> float:
    """Train and evaluate once, each with new arrays; return the seconds."""
    # Nodes would answer an equal request from their reply caches.
    group = secrets.token_hex(8)
    contents = {step: _change(model) for step in (MessageType.TRAIN, MessageType.EVALUATE)}
    started = time.perf_counter()
    for step, content in contents.items():
        messages = [Message(content, node, step, group_id=group) for node in grid.get_node_ids()]
        replies = list(grid.send_and_receive(messages, timeout=_LIMIT_S))
        if len(replies) != NODES or any(reply.has_error() for reply in replies):
            raise RuntimeError(f"{step}: {len(replies)} of {NODES} nodes replied, or a reply is an error")
    return time.perf_counter() - started


def _change(model: list[NDArray[np.float32]]) -> RecordDict:
    """Change the first value of each array: what a node has is not sent to it again."""
    for values in model:
        values.flat[0] += 1
    return RecordDict({"arrays": ArrayRecord(model)})


def gather(lines: TextIO, port: int, pki: Path) -> None:
    """Act as the crowd until a line arrives."""
    credentials = read_credentials(pki / "sites" / LOCAL_SITE, SITE)
    crowd = Crowd(Address("127.0.0.1", port), SILENT, DRIBBLING, credentials)
    wait_until(lambda: (crowd.silent, crowd.welcomed) == (SILENT, DRIBBLING), _LIMIT_S, "the crowd")
    print("ready", file=lines, flush=True)
    lines.readline()
    crowd.close()
    print("gone", file=lines, flush=True)


def run_role(role: str, control: str, port: str, pki: str) -> None:
    """Act as the server or the crowd of a measurement."""
    share_heap()
    with socket.create_connection(("127.0.0.1", int(control))) as link, link.makefile("rw") as lines:
        {"server": serve, "crowd": gather}[role](lines, int(port), Path(pki))


if __name__ == "__main__":
    run_program(lambda: run_role(*sys.argv[1:]) if sys.argv[1:] else main())
