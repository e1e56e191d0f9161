"""The contents of certificates, and that other implementations accept them."""

import ipaddress
import shutil
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509 import verification
from cryptography.x509.oid import ExtendedKeyUsageOID

from fedmx.pki import certificates
from fedmx.pki.authority import Authority
from fedmx.pki.certificates import SERVER, SITE
from fedmx.pki.server_names import ALWAYS_NAMED
from tests.fedmx.pki.papers import ask_python, load, make_pki, open_authority

ELSEWHERE = ("fl.example.org", "gateway", "192.0.2.7", "2001:db8::7")


HOSTS = (*ALWAYS_NAMED, *ELSEWHERE)


NOT_ITS_HOSTS = ("example.org", "a.fl.example.org", "server.example.org", "192.0.2.8", "127.0.0.2", "::2")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """An authority that tests do not change."""
    return make_pki(tmp_path_factory.mktemp("pki"), "north", server_names=ELSEWHERE)


def is_address(host: str) -> bool:
    return host.replace(".", "").isdigit() or ":" in host


# Three independent implementations, each of which checks whether a server's certificate is valid for a host.
def ask_openssl(folder: Path, host: str, usage: str = "sslserver", name: str = "server") -> bool:
    kind = "-verify_ip" if is_address(host) else "-verify_hostname"
    about_host = [kind, host] if host else []
    trusted = ["-x509_strict", "-CAfile", str(folder / "authority.crt"), "-purpose", usage]
    command = ["openssl", "verify", *trusted, *about_host, str(folder / f"{name}.crt")]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def ask_rust(folder: Path, host: str) -> bool:
    subject = x509.IPAddress(ipaddress.ip_address(host)) if is_address(host) else x509.DNSName(host)
    store = verification.Store([load(folder / "authority.crt")])
    try:
        verification.PolicyBuilder().store(store).build_server_verifier(subject).verify(
            load(folder / "server.crt"), []
        )
    except verification.VerificationError:
        return False
    return True


VERIFIERS = [
    pytest.param(
        ask_openssl, marks=pytest.mark.skipif(shutil.which("openssl") is None, reason="there is no openssl")
    ),
    ask_python,
    ask_rust,
]


@pytest.mark.parametrize("is_for", VERIFIERS)
def test_the_servers_certificate_is_valid_for_its_names_and_no_others(
    is_for: Callable[[Path, str], bool], authority: Authority
) -> None:
    folder = authority.folder_of(SERVER)
    assert [host for host in HOSTS if not is_for(folder, host)] == []
    assert [host for host in NOT_ITS_HOSTS if is_for(folder, host)] == []


@pytest.mark.skipif(shutil.which("openssl") is None, reason="there is no openssl")
def test_a_sites_certificate_is_valid_for_clients_only(authority: Authority) -> None:
    folder = authority.folder_of(SITE, "north")
    assert ask_openssl(folder, "", "sslclient", "site")
    assert not ask_openssl(folder, "", "sslserver", "site")
    assert ask_openssl(authority.folder_of(SERVER), "", "sslclient")


def test_a_certificate_of_another_authority_is_not_valid(authority: Authority, tmp_path: Path) -> None:
    folder = make_pki(tmp_path).folder_of(SERVER)
    shutil.copy(authority.folder_of(SERVER) / "authority.crt", folder)
    assert not ask_python(folder, "localhost")
    assert not ask_rust(folder, "localhost")


@pytest.mark.parametrize(
    ("part", "role", "name", "usages"),
    [
        (
            "server/server",
            "server",
            "server",
            {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH},
        ),
        ("sites/north/site", "site", "north", {ExtendedKeyUsageOID.CLIENT_AUTH}),
    ],
)
def test_a_certificate_has_a_role_a_name_and_its_usages(
    part: str, role: str, name: str, usages: set[x509.ObjectIdentifier], authority: Authority
) -> None:
    certificate = load(authority.folder / f"{part}.crt")
    assert (certificates.role_of(certificate), certificates.name_of(certificate)) == (role, name)
    extensions = certificate.extensions
    assert set(extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == usages
    usage = extensions.get_extension_for_class(x509.KeyUsage)
    assert usage.critical
    assert (usage.value.digital_signature, usage.value.key_cert_sign, usage.value.crl_sign) == (
        True,
        False,
        False,
    )
    assert extensions.get_extension_for_class(x509.BasicConstraints).value.ca is False
    assert isinstance(certificate.signature_hash_algorithm, hashes.SHA256)
    has_hosts = any(isinstance(one.value, x509.SubjectAlternativeName) for one in extensions)
    assert has_hosts == (role == "server")


def test_an_authority_can_sign_certificates_but_no_authorities(authority: Authority) -> None:
    extensions = load(authority.folder / "authority/authority.crt").extensions
    constraints = extensions.get_extension_for_class(x509.BasicConstraints)
    assert constraints.critical
    assert (constraints.value.ca, constraints.value.path_length) == (True, 0)
    usage = extensions.get_extension_for_class(x509.KeyUsage).value
    assert (usage.key_cert_sign, usage.crl_sign, usage.digital_signature) == (True, True, False)


def test_all_keys_use_p_256_and_all_serial_numbers_differ(authority: Authority) -> None:
    paths = list(authority.folder.rglob("*.crt"))
    found = {load(path).serial_number for path in paths}
    assert len(found) == 4, "the authority's, the server's, the local site's and north's"
    for path in authority.folder.rglob("*.key"):
        key = serialization.load_pem_private_key(path.read_bytes(), None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        assert isinstance(key.curve, ec.SECP256R1)
    for path in paths:
        public = load(path).public_key()
        assert isinstance(public, ec.EllipticCurvePublicKey)
        assert isinstance(public.curve, ec.SECP256R1)


def test_lifetimes_come_from_the_settings(tmp_path: Path) -> None:
    now = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    made = open_authority(tmp_path, now, authority_days=100.0, certificate_days=0.5)
    with made.locked():
        made.create()
    made.issue_server()
    made.issue_site("north")
    for part, days in (("authority/authority", 100), ("server/server", 0.5), ("sites/north/site", 0.5)):
        certificate = load(tmp_path / f"{part}.crt")
        assert certificate.not_valid_after_utc == now + timedelta(days=days)
        assert certificate.not_valid_before_utc == now - timedelta(hours=1), "clocks differ"


def test_no_certificate_outlives_its_authority(tmp_path: Path) -> None:
    made = open_authority(tmp_path, authority_days=10.0, certificate_days=365.0)
    with made.locked():
        made.create()
        made.issue_site("north")
    ends = [
        load(path).not_valid_after_utc
        for path in (tmp_path / "authority" / "authority.crt", made.folder_of(SITE, "north") / "site.crt")
    ]
    assert ends[0] == ends[1]
