"""Which certificates a server accepts, and when and for which reason it refuses the others."""

import io
import os
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from fedmx.errors import DataError, RefusedError
from fedmx.pki import certificates, signing
from fedmx.pki.access import PeerVerifier
from fedmx.pki.authority import Authority
from fedmx.pki.signing import Subject, Validity
from tests.fedmx.pki.clocks import Clocks
from tests.fedmx.pki.papers import (
    IN_A_YEAR,
    LONG_AGO,
    credentials_of,
    load,
    make_pki,
    own_serial,
    verifier_of,
)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return make_pki(tmp_path / "pki", "north", "south")


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
