"""Serves one run: opens the link, runs the app, and tells every node how it ended."""

import gc
import time
from functools import partial

from flwr.app import Context, RecordDict

from fedmx import log
from fedmx.errors import FederationError, StopSignal
from fedmx.link.flower import SERVER_NODE_ID
from fedmx.link.grid import LinkGrid
from fedmx.link.roster import Roster
from fedmx.link.server import LinkServer
from fedmx.log import event
from fedmx.pki.access import PeerVerifier
from fedmx.pki.certificates import REVOKED_FILE, SERVER
from fedmx.pki.credentials import load_credentials
from fedmx.protocol import link_pb2 as pb
from fedmx.readiness import Ready, report_ready
from fedmx.settings import ServerSettings, load
from server import admission, strategies
from server.app import build_app, run_number
from server.leases import is_within_grace
from server.record import resume
from server.record.resume import Start
from server.record.runs import NEW_RUN, RunsFolder

_LINGER_S = 2.5  # of a goodbye to nodes that dial; they do so every two seconds


def main() -> None:
    """Serve the run that the settings ask for."""
    settings = load(ServerSettings, strategies.find_problems)
    log.configure(settings.log_level, settings.log_format)
    gc.freeze()  # some of Flower's strategies collect garbage for every reply; what was imported is none
    with RunsFolder(settings.runs_dir) as runs:
        if finished := resume.find_unannounced(runs, settings):
            event("run was finished when the server ended, telling its nodes", folder=finished.folder)
            server = listen(settings)
            report_ready(Ready(server.address, finished.folder))
            server.stop(pb.Goodbye.FINISHED, linger_s=_LINGER_S)
        else:
            start = resume.choose_run(settings)
            runs.untold = start.run_id
            server = listen(settings, start)
            report_ready(Ready(server.address, settings.runs_dir / start.run_id))
            run_to_goodbye(server, settings, start)
        runs.untold = ""


def listen(settings: ServerSettings, start: Start | None = None) -> LinkServer:
    """Open the link.

    Args:
        settings: what the server was told.
        start: the run, whose nodes must agree with what they were if it is resumed.

    Raises:
        DataError: the server's certificate does not do.
        SettingsError: the address cannot be listened on.
    """
    credentials = load_credentials(SERVER, settings.certs_dir, settings.link_security)
    verifier = PeerVerifier(credentials, settings.certs_dir / REVOKED_FILE) if credentials else None
    roster = Roster(partial(admission.find_difference, is_shared=settings.partition.is_shared))
    if start is not None and start.description is not None and settings.resume != "force":
        roster.pin(start.description, start.words, f"; on the server, {NEW_RUN}")
    server = LinkServer(
        settings.listen_address,
        roster,
        max_model_bytes=settings.max_model_bytes,
        lease_grace_s=settings.lease_grace,
        verifier=verifier,
    )
    server.start()
    event("listening", address=server.address)
    return server


def run_to_goodbye(server: LinkServer, settings: ServerSettings, start: Start) -> None:
    """Run the app, and tell every node how it ended."""
    number = run_number(start.run_id)
    try:
        context = Context(number, SERVER_NODE_ID, node_config={}, state=RecordDict(), run_config={})
        build_app(settings, start)(LinkGrid(server, number), context)
    except FederationError as error:
        server.stop(pb.Goodbye.FAILED, str(error), linger_s=_linger_s(server, settings))
        raise
    except Exception:
        server.stop(pb.Goodbye.FAILED, "a bug in the server, its log shows it")
        raise
    except StopSignal:
        # No goodbye: a server that is stopped may be started again, and its nodes wait for it.
        server.stop(None)
        raise
    server.stop(pb.Goodbye.FINISHED, linger_s=_linger_s(server, settings))


def _linger_s(server: LinkServer, settings: ServerSettings) -> float:
    """Say how long nodes are told that only now dial: those whose stream has just broken do."""
    now, grace_s = time.monotonic(), settings.lease_grace
    is_gone = [node for node in server.roster.nodes() if not node.is_present]
    return _LINGER_S if any(is_within_grace(node, now=now, grace_s=grace_s) for node in is_gone) else 0.0
