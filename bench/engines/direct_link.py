"""The direct link: a `LinkGrid` in the server's process, a `NodeLink` in each node's."""

import logging
import sys
import tempfile
from pathlib import Path

from flwr.app import ConfigRecord

from bench.engines.pair import measure_pair
from bench.flower_app.null_app.rounds import play_rounds
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
# mallopt(3): blocks from this size up are mapped one by one. gRPC's own buffers are about as small as that.
_FREE_AT_ONCE = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "131072"}


def measure(job: Job) -> Outcome:
    """Run a server and two nodes, and read the stopwatch."""
    return measure_pair(job, __name__)


def measure_tls(job: Job) -> Outcome:
    """Run them with mutual TLS."""
    with tempfile.TemporaryDirectory() as folder:
        make_certificates(Path(folder))
        return measure_pair(job, __name__, extra=[folder])


def make_certificates(folder: Path) -> None:
    """Make an authority with certificates for a server and nodes on this machine."""
    authority = Authority(PkiSettings(pki_dir=folder))
    with authority.locked():
        authority.ensure()


def measure_steps(size: str) -> Outcome:
    """Measure the server's memory by step, with an allocator that gives back at once what is freed.

    Left alone, the C library keeps freed blocks for the next round, and every step seems to need what the
    highest one needed. Slow, so its seconds do not count.
    """
    return measure_pair(Job("link", size, rounds=3, limit_s=120), __name__, _FREE_AT_ONCE)


def serve(port: int, size: str, rounds: int, marks: Path, certs: Path | None) -> None:
    """Play the rounds over the link; without certificates in plain text, like the other engines."""
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
    play_rounds(LinkGrid(server, _RUN_ID), size, rounds, marks)
    server.stop(pb.Goodbye.FINISHED)


def join(port: int, node: int, certs: Path | None) -> None:
    """Be a node until the server's goodbye."""
    # The app is what SuperNodes load, so nodes import it and the server does not.
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
    """Be the server or a node."""
    share_heap()  # as both programs of fedmx do
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
