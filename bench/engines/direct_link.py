"""fedmx's direct link, as a user runs it: the project's own round, and null nodes that speak its messages.

The server's program is that of `python -m server` with a reporter that holds the stopwatch. A round ends when
its checkpoint begins, and the next one begins when the round has been reported, so that disks do not count.
"""

import gc
import logging
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.engines import pair
from bench.engines.null_node import BEGAN, ENDED, describe, make_app
from bench.engines.pair import Program
from bench.flower_app.null_app.stopwatch import Stopwatch
from bench.outcome import Job, Outcome
from fedmx import log
from fedmx.deployment_settings import PkiSettings
from fedmx.link.node import NodeLink
from fedmx.link.node_stream import LinkOptions
from fedmx.memory import keep_heap, share_heap
from fedmx.pki.authority import LOCAL_SITE, Authority
from fedmx.pki.certificates import SITE
from fedmx.pki.credentials import Credentials, read_credentials
from fedmx.protocol.control import Hello
from fedmx.settings import ServerSettings, environment, load
from fedmx.values import Address
from server.activity import Activity
from server.problems import find_problems
from server.record import resume
from server.report import Opening, RoundReport, RunFacts
from server.reporting.reporter import Reporter
from server.serving import listen, run_to_goodbye

MAX_MODEL_BYTES = 4 * 1024**3
# Blocks of at least this size are mapped separately, see mallopt(3). gRPC's buffers are about as small as
# that.
_FREE_AT_ONCE = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "131072"}
_WAIT_S = 60.0


def plain(**more: object) -> Program:
    """Return the programs without TLS; arguments are further fields of `Program`."""
    return Program(__name__, **more)  # type: ignore[arg-type]


def tls(**more: object) -> Program:
    """Return the programs with mutual TLS, the default of both."""
    return Program(__name__, prepare=_create_certificates, **more)  # type: ignore[arg-type]


def create_certificates(folder: Path) -> None:
    """Create an authority, and certificates for a server and nodes on this machine."""
    authority = Authority(PkiSettings(pki_dir=folder))
    with authority.locked():
        authority.ensure()


def _create_certificates(folder: Path) -> Sequence[str]:
    create_certificates(folder / "pki")
    return [str(folder / "pki")]


def measure_steps(size: str) -> Outcome:
    """Measure the server's memory by step, with an allocator that returns freed memory at once.

    By default, the C library keeps freed blocks for the next round, and every step seems to need as much as
    the largest one. This setting is slow, so its seconds do not count.
    """
    return pair.measure(Job("link", size, rounds=3, limit_s=120), plain(env=_FREE_AT_ONCE))


class _Steps(Activity):
    """Notifies the stopwatch of each step that the run begins.

    Args:
        stopwatch: notes the time at which a step begins, and the peak memory of the step before.
    """

    def __init__(self, stopwatch: Stopwatch) -> None:
        super().__init__()
        self._stopwatch = stopwatch

    def begin(self, name: str, number: int = 0) -> None:
        """Record that the server begins something."""
        self._stopwatch.note_step(self.look().name, name)
        if name == "checkpoint":
            self._stopwatch.end_round()
        super().begin(name, number)


class _Timer(Reporter):
    """Holds the stopwatch, and lets each round begin only when its turn has come."""

    def __init__(self, stopwatch: Stopwatch) -> None:
        self._stopwatch = stopwatch

    def on_open(self, opening: Opening) -> None:
        """Watch what the run does."""
        opening.nodes.activity = _Steps(self._stopwatch)

    def on_run(self, facts: RunFacts) -> None:  # noqa: ARG002 - a method of the interface
        """Begin with round 1."""
        self._stopwatch.mark()

    def on_round(self, report: RoundReport) -> None:
        """End a round, with the times that the nodes measured; these are exact if there is one node."""
        for step, name in ((report.train, ENDED), (report.evaluate, BEGAN)):
            if step is not None:
                self._stopwatch.times[name] = step.metrics[name]
        self._stopwatch.resume()


def serve(arguments: Sequence[str]) -> None:
    """Act as the server."""
    port, _size, rounds, nodes, marks, *pki = arguments
    path = Path(marks)
    own = {
        "LISTEN_ADDRESS": f"127.0.0.1:{port}",
        "RUNS_DIR": str(path.with_name("runs")),
        "NUM_ROUNDS": rounds,
        "NUM_PARTITIONS": nodes,
        "MIN_CLIENTS": nodes,
        "MAX_MODEL_BYTES": str(MAX_MODEL_BYTES),
        "KEEP_CHECKPOINTS": "1",
        "STATUS_ADDRESS": "off",
        **_choose_security(*pki),
    }
    settings = load(ServerSettings, find_problems, environ=environment() | own)
    gc.freeze()
    keep_heap()
    with Stopwatch(path) as stopwatch:
        start = resume.choose_run(settings)
        run_to_goodbye(listen(settings, start), settings, start, _Timer(stopwatch))


def _choose_security(pki: str | None = None) -> Mapping[str, str]:
    if pki is None:
        return {"LINK_SECURITY": "insecure"}
    return {"LINK_SECURITY": "mtls", "CERTS_DIR": str(Path(pki) / "server")}


def join(port: str, size: str, first: str, count: str, pki: str | None = None) -> None:
    """Act as some nodes, each on a thread of its own, until the server's goodbye.

    With the large model, all of them begin to send their updates at one moment.
    """
    credentials = None if pki is None else read_credentials(Path(pki) / "sites" / LOCAL_SITE, SITE)
    together = threading.Barrier(int(count) if size == "large" else 1)
    threads = []
    for number in range(int(first), int(first) + int(count)):
        link = NodeLink(_introduce(int(port), number, credentials))
        link.start()
        app = make_app(size, number, together.wait)
        threads.append(threading.Thread(target=link.serve, args=(app, describe(size))))
        threads[-1].start()
    for thread in threads:
        thread.join()


def _introduce(port: int, number: int, credentials: Credentials | None) -> LinkOptions:
    hello = Hello(f"node-{number}", is_name_given=True, max_model_bytes=MAX_MODEL_BYTES)
    return LinkOptions(Address("127.0.0.1", port), hello, _WAIT_S, credentials=credentials)


def main(role: str, *arguments: str) -> None:
    """Act as the server or as nodes."""
    # Both programs of fedmx do so.
    share_heap()
    log.configure("WARNING", "text")
    logging.getLogger("flwr").setLevel(logging.WARNING)
    if role == "server":
        serve(arguments)
    else:
        join(*arguments)


if __name__ == "__main__":
    main(*sys.argv[1:])
