"""`python -m bench.reporters`: what the status page, TensorBoard and MLflow cost per round.

The server trains with two nodes that return the small model as it came. With reporters, it serves the page
and metrics to a reader that polls both, writes TensorBoard's files, and sends metrics to a stand-in for
MLflow that answers at once. Runs with and without reporters alternate: a change of the machine's speed
affects both. A round is measured between two train messages at a node, which includes all the server's work
between two rounds. The server's CPU time is shown as well: other programs on the machine affect it less.
"""

import json
import os
import statistics
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench.flower_app.null_app.model import make_arrays
from bench.flower_app.null_app.rounds import NODES
from bench.processes import Children, MeasurementError, free_port, wait_for_port, wait_until
from fedmx.link.node import NodeLink
from fedmx.link.node_stream import LinkOptions
from fedmx.memory import share_heap
from fedmx.program import run_program
from fedmx.protocol.control import Hello
from fedmx.values import Address
from server.trackers.http_client import Call, RequestError, WebAddress, send
from tests.server.nodes import GOOD, Config, Metrics, NullNode, Values

PAIRS, ROUNDS, WARM_UP = 6, 60, 5
MOST_S = 0.010
"""The most that reporters may add to a round."""

_MODEL_BYTES = 2**24
_LIMIT_S = 180.0
# Prometheus reads metrics every 15 s by default, and the page is updated every second or two.
_READ_EVERY_S = 1.0
_ANSWER = {
    "experiment": {"experiment_id": "1"},
    "run": {"info": {"run_id": "1", "experiment_id": "1", "artifact_uri": "mlflow-artifacts:/1/1"}},
}


@dataclass(frozen=True)
class Run:
    """The rounds of a run after the warm-up.

    Attributes:
        seconds: of each round.
        cpu_s: the server's CPU time in all of them.
    """

    seconds: list[float]
    cpu_s: float

    @property
    def median_s(self) -> float:
        """The median round."""
        return statistics.median(self.seconds)

    @property
    def round_cpu_s(self) -> float:
        """The mean CPU time of a round."""
        return self.cpu_s / len(self.seconds)


def main() -> None:
    """Measure and print a table."""
    pairs = []
    for number in range(PAIRS):
        print(f"measuring: pair {number + 1} of {PAIRS}", flush=True)
        pairs.append((_measure(is_on=False), _measure(is_on=True)))
    _show(pairs)


def _measure(*, is_on: bool) -> Run:
    """Run a federation and return its measured rounds."""
    with Children() as children:
        port, marks = free_port(), children.folder / "marks"
        settings = {
            "LISTEN_ADDRESS": f"127.0.0.1:{port}",
            "LINK_SECURITY": "insecure",
            "RUNS_DIR": str(children.folder / "runs"),
            "NUM_ROUNDS": str(ROUNDS + WARM_UP + 1),
            "NUM_PARTITIONS": str(NODES),
        }
        with _reporters(children, is_on=is_on) as more:
            server = children.start_module("server", "server", env={**settings, **more})
            wait_for_port(port)
            for node in range(NODES):
                arguments = ("node", str(port), str(node), str(marks), str(server.pid))
                children.start_module(f"node-{node}", "bench.reporters", *arguments)
            wait_until(lambda: server.poll() is not None, _LIMIT_S, "rounds")
        if server.returncode != 0:
            raise MeasurementError(f"the server ended: {children.tail('server')}")
        lines = [line.split() for line in marks.read_text().splitlines()[WARM_UP:]]
    seconds = [float(after) - float(before) for (before, _), (after, _) in pairwise(lines)]
    return Run(seconds, float(lines[-1][1]) - float(lines[0][1]))


@contextmanager
def _reporters(children: Children, *, is_on: bool) -> Iterator[Mapping[str, str]]:
    """Yield the settings of the server; with reporters, run the programs that they talk to."""
    if not is_on:
        yield {"STATUS_ADDRESS": "off", "TENSORBOARD": "off"}
        return
    tracker, page = free_port(), free_port()
    children.start_module("tracker", "bench.reporters", "tracker", str(tracker))
    wait_for_port(tracker)
    is_over = threading.Event()
    reader = threading.Thread(target=_read_page, args=(f"http://127.0.0.1:{page}", is_over))
    reader.start()
    try:
        yield {
            "STATUS_ADDRESS": f"127.0.0.1:{page}",
            "TENSORBOARD": "on",
            "MLFLOW_TRACKING_URI": f"http://127.0.0.1:{tracker}",
        }
    finally:
        is_over.set()
        reader.join()


def _read_page(url: str, is_over: threading.Event) -> None:
    """Poll the paths that Prometheus and the page poll."""
    while not is_over.wait(_READ_EVERY_S):
        for path in ("/metrics", "/status.json"):
            with suppress(RequestError):
                send(WebAddress(url, {}), Call("GET", path), _LIMIT_S)


def _show(pairs: Sequence[tuple[Run, Run]]) -> None:
    table = Table(title=f"{ROUNDS} rounds of each run, in milliseconds")
    for title in ("", "median without", "with", "more", "CPU time without", "with", "more"):
        table.add_column(title, justify="right" if title else "left")
    for number, pair in enumerate(pairs):
        medians = [run.median_s for run in pair]
        table.add_row(
            f"pair {number + 1}", *_list_cells(*medians), *_list_cells(*(run.round_cpu_s for run in pair))
        )
    without, with_them = (
        statistics.median(second for run in runs for second in run.seconds)
        for runs in zip(*pairs, strict=True)
    )
    cpu = [statistics.mean(run.round_cpu_s for run in runs) for runs in zip(*pairs, strict=True)]
    table.add_row("all", *_list_cells(without, with_them), *_list_cells(*cpu))
    Console(width=None if Console().is_terminal else 100).print(table)
    verdict = "met" if with_them - without <= MOST_S else "MISSED"
    print(f"target: at most {1000 * MOST_S:g} ms more: {verdict}")


def _list_cells(without: float, with_them: float) -> list[str]:
    return [f"{1000 * seconds:.1f}" for seconds in (without, with_them, with_them - without)]


def act_as_node(port: str, number: str, marks: str, server: str) -> None:
    """Return the model unchanged until the server's goodbye. The first node records when rounds begin."""
    share_heap()

    def train(values: Values, _: Config) -> tuple[Values, Metrics]:
        if number == "0":
            with Path(marks).open("a") as file:
                file.write(f"{time.perf_counter()} {_read_cpu_s(server)}\n")
        return values, GOOD

    node = NullNode(train, initial={f"{i}.w": array for i, array in enumerate(make_arrays("small"))})
    hello = Hello(f"node-{number}", is_name_given=True, max_model_bytes=_MODEL_BYTES)
    link = NodeLink(LinkOptions(Address("127.0.0.1", int(port)), hello, wait_timeout_s=_LIMIT_S))
    link.start()
    link.serve(node.make_app(), node.describe_when_ready())


def _read_cpu_s(pid: str) -> float:
    """Return the CPU time of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    user, system = map(int, fields[11:13])
    return (user + system) / os.sysconf("SC_CLK_TCK")


def act_as_tracker(port: str) -> None:
    """Answer every request at once, as MLflow would."""

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            body = json.dumps(_ANSWER).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_PUT = answer  # noqa: N815 - names of the base class

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    ThreadingHTTPServer(("127.0.0.1", int(port)), Handler).serve_forever()


def run_role(role: str, *arguments: str) -> None:
    """Act as a node or the tracker of a measurement."""
    if role == "node":
        act_as_node(*arguments)
    else:
        act_as_tracker(*arguments)


if __name__ == "__main__":
    run_program(lambda: run_role(*sys.argv[1:]) if sys.argv[1:] else main())
