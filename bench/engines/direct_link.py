"""fedmx's direct link: a `LinkGrid` in the server's process, a `NodeLink` in each node's."""

import logging
import sys
import tempfile
from pathlib import Path

from flwr.app import ConfigRecord

from bench.engines.pair import measure_pair
from bench.flower_app.null_app.rounds import run_rounds
from bench.outcome import Job, Outcome
from fedmx import log
from fedmx.link.grid import LinkGrid
from fedmx.link.node import LinkOptions, NodeLink
from fedmx.link.roster import Roster
from fedmx.link.server import LinkServer
from fedmx.memory import share_heap
from fedmx.pki.access import PeerVerifier
from fedmx.pki.authority import LOCAL_SITE, Authority
from fedmx.pki.certificates import REVOKED_FILE, SERVER, SITE
from fedmx.pki.credentials import read_credentials
from fedmx.protocol import link_pb2 as pb
from fedmx.protocol.control import Hello
from fedmx.settings import PkiSettings
from fedmx.values import Address

MAX_MODEL_BYTES = 4 * 1024**3
_RUN_ID = 1
# Blocks of at least this size are mapped separately, see mallopt(3). gRPC's buffers are about as small as
# that.
_FREE_AT_ONCE = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "131072"}


def measure(job: Job) -> Outcome:
    """Run a server and two nodes, and read the stopwatch."""
    return measure_pair(job, __name__)


def measure_tls(job: Job) -> Outcome:
    """Run a server and two nodes with mutual TLS, and read the stopwatch."""
    with tempfile.TemporaryDirectory() as folder:
        create_certificates(Path(folder))
        return measure_pair(job, __name__, extra=[folder])


def create_certificates(folder: Path) -> None:
    """Create an authority, and certificates for a server and nodes on this machine."""
    authority = Authority(PkiSettings(pki_dir=folder))
    with authority.locked():
        authority.ensure()


def measure_steps(size: str) -> Outcome:
    """Measure the server's memory by step, with an allocator that returns freed memory at once.

    By default, the C library keeps freed blocks for the next round, and every step seems to need as much as
    the largest one. This setting is slow, so its seconds do not count.
    """
    return measure_pair(Job("link", size, rounds=3, limit_s=120), __name__, _FREE_AT_ONCE)


def serve(port: int, size: str, rounds: int, marks: Path, certs: Path | None) -> None:
    """Run the rounds over the link; without certificates, TLS is disabled, as in the other engines."""
    verifier = PeerVerifier(read_credentials(certs, SERVER), certs / REVOKED_FILE) if certs else None
    roster = Roster(lambda _first, _second: None)
    server = LinkServer(
        Address("127.0.0.1", port),
        roster,
        max_model_bytes=MAX_MODEL_BYTES,
        lease_grace_s=10.0,
        verifier=verifier,
    )
    server.start()
    run_rounds(LinkGrid(server, _RUN_ID), size, rounds, marks)
    server.stop(pb.Goodbye.FINISHED)


def join(port: int, node: int, certs: Path | None) -> None:
    """Act as a node until the server's goodbye."""
    # Only nodes import the app, as only SuperNodes do.
    from bench.flower_app.null_app.client_app import app  # noqa: PLC0415

    options = LinkOptions(
        address=Address("127.0.0.1", port),
        hello=Hello(f"node-{node}", is_name_given=True, max_model_bytes=MAX_MODEL_BYTES),
        wait_timeout_s=60.0,
        credentials=read_credentials(certs, SITE) if certs else None,
    )
    link = NodeLink(options)
    link.start()
    link.serve(app, ConfigRecord())


def main(role: str, port: str, *rest: str) -> None:
    """Act as the server or a node."""
    # Both programs of fedmx do so.
    share_heap()
    log.configure("INFO", "text")
    logging.getLogger("flwr").setLevel(logging.WARNING)
    if role == "server":
        size, rounds, path, *pki = rest
        serve(int(port), size, int(rounds), Path(path), Path(*pki, "server") if pki else None)
    else:
        number, *pki = rest
        join(int(port), int(number), Path(*pki, "sites", LOCAL_SITE) if pki else None)


if __name__ == "__main__":
    main(*sys.argv[1:])
