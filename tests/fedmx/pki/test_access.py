"""Which nodes a server with certificates accepts, and which it disconnects later, with the reason."""

import io
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from flwr.app import ConfigRecord, RecordDict

from fedmx.errors import DataError, RefusedError
from fedmx.link import session, watch
from fedmx.pki import certificates, signing
from fedmx.pki.access import PeerVerifier
from fedmx.pki.authority import Authority
from fedmx.pki.credentials import Credentials
from fedmx.pki.signing import Subject, Validity
from fedmx.protocol import control
from fedmx.protocol import link_pb2 as pb
from tests.fedmx.link.loopback import FOREVER_S, PATIENCE_S, Hub, Node, Worker
from tests.fedmx.pki.papers import (
    IN_A_YEAR,
    LONG_AGO,
    SecureRawNode,
    credentials_of,
    load,
    make_pki,
    own_serial,
    start_node,
    verifier_of,
)
from tests.fedmx.protocol.wire import pack


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return make_pki(tmp_path / "pki", "north", "south")


@dataclass
class Clocks:
    """A wall clock and a monotonic clock that the test sets.

    Attributes:
        ahead: how far the wall clock is ahead.
        passed_s: seconds on the monotonic clock.
        checks: how often the wall clock was read.
    """

    ahead: timedelta = field(default_factory=timedelta)
    passed_s: float = 0.0
    checks: int = 0

    def now(self) -> datetime:
        self.checks += 1
        return datetime.now(UTC) + self.ahead

    def verifier(self, authority: Authority) -> PeerVerifier:
        revoked = authority.folder / "server" / "revoked.txt"
        return PeerVerifier(credentials_of(authority), revoked, self.now, lambda: self.passed_s)


@pytest.fixture
def clocks() -> Clocks:
    return Clocks()


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


def pem_of(authority: Authority, site: str) -> bytes:
    return (authority.folder / "sites" / site / "site.crt").read_bytes()


def test_a_site_is_identified_by_the_name_in_its_certificate(authority: Authority) -> None:
    site = verifier_of(authority).identify(pem_of(authority, "north"))
    assert (site.name, site.serial) == ("north", own_serial(authority, "north"))


@pytest.mark.parametrize(
    ("instance", "name"),
    [
        ("x", "north.x"),
        ("north.x", "north.x"),
        ("south.x", "north.south.x"),
        ("north", "north.north"),
        ("northx", "north.northx"),
    ],
)
def test_a_nodes_name_always_begins_with_its_site(instance: str, name: str, authority: Authority) -> None:
    assert verifier_of(authority).identify(pem_of(authority, "north")).name_node(instance) == name


def test_a_revoked_site_is_refused_by_name_and_serial_at_the_next_check(authority: Authority) -> None:
    verifier = verifier_of(authority)
    north, south = (verifier.identify(pem_of(authority, name)) for name in ("north", "south"))
    authority.revoke("north")
    fault = f"the certificate of site north is revoked (serial {own_serial(authority, 'north')})"
    assert [verifier.find_problem(north), verifier.find_problem(south)] == [fault, None]
    with pytest.raises(RefusedError) as caught:
        verifier.identify(pem_of(authority, "north"))
    assert str(caught.value) == fault
    authority.issue_site("north")
    assert verifier.identify(pem_of(authority, "north")).name == "north", "a new certificate is another one"


def test_a_change_of_the_list_is_noticed_even_within_one_clock_tick(authority: Authority) -> None:
    verifier, path = verifier_of(authority), authority.folder / "server" / "revoked.txt"
    north = verifier.identify(pem_of(authority, "north"))
    before = path.stat()
    authority.revoke("north")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert verifier.find_problem(north) is not None


@pytest.mark.parametrize("spoil", ["missing", "folder", "binary"])
def test_an_unreadable_list_keeps_revocations_and_logs_one_warning_once_it_lasts(
    spoil: str, authority: Authority, clocks: Clocks, log: io.StringIO
) -> None:
    authority.revoke("north")
    verifier, path = clocks.verifier(authority), authority.folder / "server" / "revoked.txt"
    before = path.read_bytes()
    path.unlink()
    if spoil == "folder":
        path.mkdir()
    elif spoil == "binary":
        path.write_bytes(b"\xff\xfe")
    for _ in range(6):
        with pytest.raises(RefusedError, match="is revoked"):
            verifier.identify(pem_of(authority, "north"))
        assert verifier.identify(pem_of(authority, "south")).name == "south"
        assert log.getvalue().count("WARNING") == (clocks.passed_s >= 6)
        clocks.passed_s += 2
    assert f"file={path}" in log.getvalue()
    if spoil == "folder":
        path.rmdir()
    path.write_bytes(before + f"{own_serial(authority, 'south')}\n".encode())
    with pytest.raises(RefusedError, match="site south is revoked"):
        verifier.identify(pem_of(authority, "south"))


@pytest.mark.parametrize("content", [None, b"\xff", b"all of them\n", b"AB:CD\n", b"\n"])
def test_a_server_does_not_start_without_a_valid_list(
    authority: Authority, tmp_path: Path, content: bytes | None
) -> None:
    path = tmp_path / "revoked.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(
        DataError, match=f"^{path}: cannot be read: .*; expected the list of revoked certificates"
    ):
        PeerVerifier(credentials_of(authority), path)


def forge(authority: Authority, subject: Subject, days: float = 1.0) -> bytes:
    """Issue a certificate that no command of the authority issues."""
    path = authority.folder / "authority" / "authority.crt"
    _, key = certificates.read_key(path.with_suffix(".key"), load(path), "")
    validity = Validity(LONG_AGO if days < 0 else IN_A_YEAR, abs(days))
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    made = signing.sign(load(path), key, key.public_key(), subject, validity)
    return made.public_bytes(Encoding.PEM)


@pytest.mark.parametrize(
    ("subject", "message"),
    [
        (Subject("server", "server"), "the certificate of 'server' has role 'server'; expected a site's"),
        (Subject("site\n", "north"), r"the certificate of 'north' has role 'site\\n'; expected a site's"),
    ],
)
def test_a_certificate_with_another_role_is_refused(
    subject: Subject, message: str, authority: Authority
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(signing._USAGES, subject.role, signing._USAGES["site"])
        pem = forge(authority, subject)
    with pytest.raises(RefusedError) as caught:
        verifier_of(authority).identify(pem)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize("rest", ["", "half"])
def test_a_list_that_lacks_lines_while_it_is_rewritten_keeps_revocations(
    rest: str, authority: Authority, log: io.StringIO
) -> None:
    authority.revoke("north")
    verifier, path = verifier_of(authority), authority.folder / "server" / "revoked.txt"
    path.write_text(own_serial(authority, "north")[:20] if rest else "")
    with pytest.raises(RefusedError, match="is revoked"):
        verifier.identify(pem_of(authority, "north"))
    assert verifier.identify(pem_of(authority, "south")).name == "south"
    assert log.getvalue() == ""


@pytest.mark.parametrize(
    ("days", "message"),
    [
        (-1.0, r"the certificate of site north: expired on .* UTC .*"),
        (1.0, r"the certificate of site north: not valid before .* UTC .*"),
    ],
)
def test_a_certificate_that_is_not_valid_is_refused_once_that_lasts(
    days: float, message: str, authority: Authority, clocks: Clocks
) -> None:
    verifier, pem = clocks.verifier(authority), forge(authority, Subject("site", "north"), days)
    for clocks.passed_s in (0.0, 2.0, 4.0):
        assert verifier.identify(pem).name == "north"
    clocks.passed_s = 6.0
    with pytest.raises(RefusedError, match=message):
        verifier.identify(pem)


@pytest.mark.parametrize("days", [400, -400, -20_000])
def test_a_clock_that_is_wrong_for_five_seconds_disconnects_no_site(
    days: int, authority: Authority, clocks: Clocks
) -> None:
    verifier = clocks.verifier(authority)
    north = verifier.identify(pem_of(authority, "north"))
    for _ in range(10):
        for clocks.ahead in (timedelta(days=days),) * 3 + (timedelta(),):
            assert verifier.find_problem(north) is None
            clocks.passed_s += 2
    clocks.ahead = timedelta(days=days)
    found = []
    for _ in range(5):
        found.append(verifier.find_problem(north) is not None)
        clocks.passed_s += 2
    assert found == [False, False, False, True, True], "found two seconds apart, it counts within ten"


def test_revocation_takes_effect_at_once_even_if_the_clock_is_wrong(
    authority: Authority, clocks: Clocks
) -> None:
    verifier = clocks.verifier(authority)
    north = verifier.identify(pem_of(authority, "north"))
    clocks.ahead = timedelta(days=400)
    authority.revoke("north")
    assert "is revoked" in (verifier.find_problem(north) or "")


@pytest.mark.parametrize("pem", [b"", b"garbage"])
def test_an_invalid_certificate_is_refused(pem: bytes, authority: Authority) -> None:
    with pytest.raises(RefusedError, match=r"^not a valid certificate; expected a site's"):
        verifier_of(authority).identify(pem)


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
