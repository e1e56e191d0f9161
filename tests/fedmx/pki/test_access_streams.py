"""Sites at a running server: welcomed, refused at hello, and disconnected when they are revoked."""

import io
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from flwr.app import ConfigRecord, RecordDict

from fedmx.errors import RefusedError
from fedmx.link import session, watch
from fedmx.pki import certificates
from fedmx.pki.authority import Authority
from fedmx.pki.credentials import Credentials
from fedmx.protocol import control
from fedmx.protocol import link_pb2 as pb
from tests.fedmx.link.loopback import FOREVER_S, PATIENCE_S, Hub, Node, Worker
from tests.fedmx.pki.clocks import Clocks
from tests.fedmx.pki.papers import SecureRawNode, credentials_of, make_pki, own_serial, start_node
from tests.fedmx.protocol.wire import pack


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return make_pki(tmp_path / "pki", "north", "south")


@pytest.fixture
def hub(
    open_hub: Callable[..., Hub], authority: Authority, clocks: Clocks, monkeypatch: pytest.MonkeyPatch
) -> Hub:
    """A server with certificates that checks often whether one is revoked."""
    monkeypatch.setattr(watch, "PERIOD_S", 0.05)
    return open_hub(verifier=clocks.verifier(authority), lease_grace_s=FOREVER_S)


def wait_for_checks(hub: Hub, clocks: Clocks) -> None:
    """Wait until the server has checked all sessions several times."""
    checks = clocks.checks
    hub.wait_until(lambda: clocks.checks > checks + 5)


def test_a_node_is_welcomed_under_its_sites_name(hub: Hub, authority: Authority) -> None:
    raw = SecureRawNode(hub.address, credentials_of(authority, "north"))
    raw.send_hello("x")
    assert raw.receive("welcome").name == "north.x"
    raw.send(control.build_ready(ConfigRecord()))
    hub.await_ready("north.x")
    raw.hang_up()


def test_the_servers_own_certificate_is_refused_at_hello_by_role(
    hub: Hub, authority: Authority, log: io.StringIO
) -> None:
    raw = SecureRawNode(hub.address, credentials_of(authority))
    raw.send_hello("x")
    goodbye = raw.receive("goodbye")
    assert (goodbye.outcome, goodbye.reason) == (
        pb.Goodbye.REFUSED,
        "the certificate of 'server' has role 'server'; expected a site's certificate (`make bundle`)",
    )
    raw.expect_end()
    assert f'reason="{goodbye.reason}"' in log.getvalue()
    assert hub.roster.nodes() == []


def test_a_revoked_site_is_refused_at_hello_by_name(hub: Hub, authority: Authority, log: io.StringIO) -> None:
    authority.revoke("north")
    error = Node(hub.address, "x", credentials=credentials_of(authority, "north")).serve().join()
    reason = f"the certificate of site north is revoked (serial {own_serial(authority, 'north')})"
    assert isinstance(error, RefusedError)
    assert str(error) == f"the server refused this node: {reason}"
    assert f'reason="{reason}"' in log.getvalue()
    assert hub.roster.nodes() == []


def test_repeated_refusals_of_a_revoked_site_are_one_line_and_a_count(
    hub: Hub, authority: Authority, log: io.StringIO
) -> None:
    authority.revoke("north")
    for name in ("x", "x", "y", "x", "x"):
        error = Node(hub.address, name, credentials=credentials_of(authority, "north")).serve().join()
        assert isinstance(error, RefusedError)
    raw = SecureRawNode(hub.address, credentials_of(authority))
    raw.send_hello("x")
    raw.receive("goodbye")
    hub.stop()
    refusals = [line for line in log.getvalue().splitlines() if "refused a node" in line]
    assert ["is revoked" in line for line in refusals] == [True, False, True]
    assert ["times=4" in line for line in refusals] == [False, False, True]


@pytest.mark.parametrize("kind", ["none", "other"])
def test_a_peer_without_a_certificate_of_the_authority_reaches_neither_roster_nor_log(
    kind: str, hub: Hub, authority: Authority, tmp_path: Path, log: io.StringIO
) -> None:
    theirs = None
    if kind == "other":
        other = credentials_of(make_pki(tmp_path / "other", "north"), "north")
        mine = credentials_of(authority, "north")
        theirs = Credentials(mine.authority, other.certificate, other.key, "north", mine.paths)
    raw = SecureRawNode(hub.address, theirs, authority=credentials_of(authority).authority)
    raw.send_hello("x")
    raw.expect_end()
    assert hub.roster.nodes() == []
    assert log.getvalue() == "", "nor can it fill the log"


def test_open_streams_of_a_revoked_site_end_with_a_reason_and_others_continue(
    hub: Hub, authority: Authority, log: io.StringIO
) -> None:
    doomed = [start_node(hub, credentials_of(authority, "north"), name) for name in ("x", "y")]
    rest = start_node(hub, credentials_of(authority, "south"), "x")
    authority.revoke("north")
    errors = [node.join() for node in doomed]
    assert {type(error) for error in errors} == {RefusedError}
    assert "the certificate of site north is revoked" in str(errors[0])
    assert [(n.name, n.is_ready) for n in hub.roster.nodes()] == [
        ("north.x", False),
        ("north.y", False),
        ("south.x", True),
    ]
    assert len(hub.ask(hub.message(name="south.x"))) == 1
    assert rest.outcome is None
    for name in ("north.x", "north.y"):
        assert log.getvalue().count(f"refused a node node={name} reason=") == 1


def test_replies_of_a_disconnected_node_are_no_longer_awaited(hub: Hub, authority: Authority) -> None:
    worker = Worker()
    worker.gate.clear()
    node = start_node(hub, credentials_of(authority, "north"), "x", worker)
    asking = hub.ask_in_background(hub.message(name="north.x"), timeout=FOREVER_S)
    assert worker.begun.wait(PATIENCE_S)
    authority.revoke("north")
    assert asking.get() == []
    later = hub.ask_in_background(hub.message(name="north.x"), timeout=FOREVER_S)
    assert later.get() == [], "nor for one that is asked later"
    worker.gate.set()
    assert isinstance(node.join(), RefusedError)


def test_a_revoked_node_that_reads_nothing_is_dropped(
    hub: Hub, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "GOODBYE_TIMEOUT_S", 0.2)
    raw = SecureRawNode(hub.address, credentials_of(authority, "north"), reads=False)
    raw.send_hello("x")
    raw.send(control.build_ready(ConfigRecord()))
    hub.await_ready("north.x")
    content = RecordDict({"arrays": pack({"a": np.zeros(20_000_000, np.uint8)})})
    hub.grid.push_messages([hub.message(content, "north.x")])
    ((_, request),) = hub.grid._open.values()
    hub.wait_until(lambda: request.bytes_down > 0)
    authority.revoke("north")
    hub.wait_until(lambda: not hub.roster.nodes()[0].is_present)
    raw.hang_up()


def test_an_open_stream_ends_when_its_certificate_expires(
    hub: Hub, authority: Authority, clocks: Clocks, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = start_node(hub, credentials_of(authority, "north"), "x")
    monkeypatch.setattr(certificates, "find_date_problem", lambda *_: "expired just now")
    wait_for_checks(hub, clocks)
    clocks.passed_s += 6
    error = node.join()
    assert "the certificate of site north: expired just now" in str(error)


def test_a_server_that_stops_does_not_wait_for_the_next_check(hub: Hub) -> None:
    hub.stop(None)
    assert hub.server._watching.cancelled()
    assert not hub.server._thread.is_alive()


@pytest.mark.parametrize("days", [400, -400])
def test_open_streams_survive_a_clock_that_is_wrong_for_a_moment_but_not_for_long(
    days: int, hub: Hub, authority: Authority, clocks: Clocks, log: io.StringIO
) -> None:
    node = start_node(hub, credentials_of(authority, "north"), "x")
    for ahead in (days, 0):
        clocks.ahead = timedelta(days=ahead)
        wait_for_checks(hub, clocks)
    clocks.passed_s += 3600
    wait_for_checks(hub, clocks)
    assert len(hub.ask(hub.message(name="north.x"))) == 1
    ends = ("refused a node", "node left", "lost the server")
    assert [end for end in ends if end in log.getvalue()] == []
    clocks.ahead = timedelta(days=days)
    wait_for_checks(hub, clocks)
    clocks.passed_s += 6
    assert isinstance(node.join(), RefusedError)
