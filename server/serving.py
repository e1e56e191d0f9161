"""Serves one run: opens the link, trains, and notifies every node of the run's end."""

import contextlib
import gc
import hashlib
import time
from functools import partial
from pathlib import Path

from fedmx import log
from fedmx.errors import DataError, FederationError, StopSignal
from fedmx.event_log import EventLog
from fedmx.link import open_files
from fedmx.link.grid import LinkGrid
from fedmx.link.roster import MAX_PRESENT, Roster
from fedmx.link.server import LinkServer
from fedmx.log import event
from fedmx.memory import keep_heap
from fedmx.pki.access import PeerVerifier
from fedmx.pki.certificates import REVOKED_FILE, SERVER
from fedmx.pki.credentials import load_credentials
from fedmx.protocol import link_pb2 as pb
from fedmx.readiness import Ready, report_ready
from fedmx.round_news import Result
from fedmx.settings import ServerSettings, load
from server.compatibility import find_difference
from server.federation import federate
from server.leases import StartRules, is_within_grace
from server.memory import open_store
from server.problems import find_problems
from server.record import resume
from server.record.history import History
from server.record.resume import Start
from server.record.runs import NEW_RUN, RunsFolder
from server.reporting.reporter import Reporter
from server.reporting.reporters import build

# How long the server stays after a run, for nodes that are reconnecting: they try every two seconds.
_LINGER_S = 2.5


def main() -> None:
    """Serve the run that the settings ask for."""
    settings = load(ServerSettings, find_problems)
    log.configure(settings.log_level, settings.log_format)
    # Some of Flower's strategies collect garbage for every reply: not among all that was imported.
    gc.freeze()
    keep_heap()
    # Reporters are closed last: the status page waits for those who read the outcome.
    with RunsFolder(settings.runs_dir) as runs, build(settings) as reporters:
        if finished := resume.find_unannounced(runs, settings):
            event("announcing the end of a finished run", folder=finished.folder)
            server = listen(settings)
            report_ready(Ready(server.address, finished.folder))
            result = _read_result(finished.folder)
            server.stop(pb.Goodbye.FINISHED, result=result, linger_s=_LINGER_S)
        else:
            start = resume.choose_run(settings)
            runs.unannounced = start.run_id
            server = listen(settings, start)
            report_ready(Ready(server.address, settings.runs_dir / start.run_id, reporters.url or ""))
            run_to_goodbye(server, settings, start, reporters)
        runs.unannounced = ""


def listen(settings: ServerSettings, start: Start | None = None) -> LinkServer:
    """Open the link.

    Args:
        settings: the server's.
        start: the run; where it is resumed, nodes must be like those it had.

    Raises:
        DataError: the server's certificate cannot be used.
        SettingsError: the server cannot listen on the address, or has no room for the run's nodes.
    """
    rules = StartRules.build(settings)
    open_files.check(rules.setting, rules.least_nodes, MAX_PRESENT)
    credentials = load_credentials(SERVER, settings.certs_dir, settings.link_security)
    verifier = PeerVerifier(credentials, settings.certs_dir / REVOKED_FILE) if credentials else None
    roster = Roster(partial(find_difference, is_shared=settings.partition.is_shared))
    if start is not None and start.description is not None and settings.resume != "force":
        roster.pin(start.description, start.label, f"; on the server, {NEW_RUN}")
    server = LinkServer(
        settings.listen_address,
        roster,
        max_model_bytes=settings.max_model_bytes,
        lease_grace_s=settings.lease_grace,
        stall_timeout_s=settings.link_stall_timeout,
        store=open_store(settings),
        task_options=str(settings.hyperparameters.to_config()["task-options"]),
        verifier=verifier,
        events=EventLog(settings.runs_dir),
    )
    server.start()
    event("listening", address=server.address)
    return server


def run_to_goodbye(server: LinkServer, settings: ServerSettings, start: Start, reporter: Reporter) -> None:
    """Train, and notify every node of the run's end."""
    folder = settings.runs_dir / start.run_id
    try:
        federate(LinkGrid(server, run_number(start.run_id)), settings, start, reporter)
    except FederationError as error:
        linger_s = _linger_s(server, settings)
        server.stop(pb.Goodbye.FAILED, str(error), result=_read_result(folder), linger_s=linger_s)
        raise
    except Exception:
        server.stop(pb.Goodbye.FAILED, "a bug in the server, its log shows it")
        raise
    except StopSignal:
        # No goodbye: a server that is stopped may be started again, and its nodes wait for it.
        server.stop(None)
        raise
    server.stop(pb.Goodbye.FINISHED, result=_read_result(folder), linger_s=_linger_s(server, settings))


def _read_result(folder: Path) -> str:
    """Return the federation's result of a run's newest round, which the nodes do not know yet.

    Nodes only log it: if it cannot be read, the goodbye has none.
    """
    with contextlib.suppress(DataError, LookupError, TypeError):
        if line := History(folder).read_newest():
            return Result.from_line(line).to_text()
    return ""


def run_number(run_id: str) -> int:
    """Return the number by which Flower knows a run."""
    return int.from_bytes(hashlib.sha256(run_id.encode()).digest()[:7])


def _linger_s(server: LinkServer, settings: ServerSettings) -> float:
    """Return how long the server stays for nodes whose stream has just broken, which connect again."""
    now = time.monotonic()
    gone = [node for node in server.roster.nodes() if not node.is_present]
    is_awaited = any(is_within_grace(node, now=now, grace_s=settings.lease_grace) for node in gone)
    return _LINGER_S if is_awaited else 0.0
