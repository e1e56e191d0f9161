"""Signing requests of sites that keep their own keys."""

import base64
import shutil
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO, Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from fedmx import files
from fedmx.errors import DataError, SettingsError
from fedmx.pki import certificates, credentials, csr
from fedmx.pki.authority import Authority
from fedmx.pki.certificates import SITE
from tests.fedmx.pki.papers import credentials_of, load, read_all


@pytest.mark.parametrize("name", ["a", "9", "hospital-a", "a" * 32])
def test_valid_names_of_sites_are_accepted(name: str) -> None:
    csr.check_site_name(name)


@pytest.mark.parametrize(
    "name", ["", "A", "-a", "a-", "a.b", "a/b", "..", "a_b", "a b", "a\n", "\u00e4", "a" * 33]
)
def test_an_invalid_name_of_a_site_gets_no_certificate(name: str, changing: Authority) -> None:
    before = read_all(changing.folder)
    for do in (
        lambda: changing.issue_site(name),
        lambda: csr.create(name, changing.folder / "request"),
        lambda: changing.sign(make_request(name), name),
    ):
        with pytest.raises(SettingsError) as caught:
            do()
        assert str(caught.value).startswith(f"site {name[:80]!r}: ")
    assert read_all(changing.folder) == before


def make_request(
    name: str, key: Any = None, extensions: tuple[x509.ExtensionType, ...] = (), unit: str = ""
) -> bytes:
    key = key or ec.generate_private_key(ec.SECP256R1())
    unit_part = [x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, unit)] if unit else []
    common = [x509.NameAttribute(NameOID.COMMON_NAME, name, _validate=False)] if name else []
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([*unit_part, *common]))
    for extension in extensions:
        builder = builder.add_extension(extension, critical=True)
    digest = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return builder.sign(key, digest).public_bytes(serialization.Encoding.PEM)


def test_a_site_that_keeps_its_key_gets_a_certificate_for_it(changing: Authority, tmp_path: Path) -> None:
    own = tmp_path / "south"
    request = csr.create("south", own)
    assert request == own / "south.csr"
    assert sorted(path.name for path in own.iterdir()) == ["site.key", "south.csr"]
    made = changing.sign(request.read_bytes(), "south")
    assert (made.role, made.name) == ("site", "south")
    folder = changing.folder_of(SITE, "south")
    assert sorted(path.name for path in folder.iterdir()) == ["authority.crt", "site.crt"]
    key = (own / "site.key").read_bytes()
    assert [path for path in changing.folder.rglob("*.key") if path.read_bytes() == key] == []
    shutil.copytree(folder, own, dirs_exist_ok=True)
    assert credentials.read_credentials(own, SITE).name == "south"
    assert changing.keeps_own_key("south")
    assert changing.find_need(SITE, "south") is None


def test_a_request_with_another_key_requires_a_revocation(changing: Authority) -> None:
    with pytest.raises(DataError, match=r"^the request: from site north, .*`.* pki revoke north`$"):
        changing.sign(make_request("north"), "north")
    assert credentials_of(changing, "north").name == "north", "its key is still here"


def test_the_key_of_a_site_that_starts_to_keep_its_own_is_deleted(changing: Authority) -> None:
    assert not changing.keeps_own_key("north")
    changing.revoke("north")
    changing.sign(make_request("north"), "north")
    assert not (changing.folder_of(SITE, "north") / "site.key").exists()
    assert changing.keeps_own_key("north")


def test_a_certificate_has_nothing_of_the_request_but_name_and_key(changing: Authority) -> None:
    requested = (
        x509.BasicConstraints(ca=True, path_length=None),
        x509.SubjectAlternativeName([x509.DNSName("server")]),
        x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]),
    )
    made = changing.sign(make_request("south", extensions=requested, unit="server"), "south")
    certificate = load(changing.folder_of(SITE, "south") / "site.crt")
    assert (made.role, certificates.role_of(certificate)) == ("site", "site")
    extensions = certificate.extensions
    assert extensions.get_extension_for_class(x509.BasicConstraints).value.ca is False
    assert set(extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == {
        ExtendedKeyUsageOID.CLIENT_AUTH
    }
    with pytest.raises(x509.ExtensionNotFound):
        extensions.get_extension_for_class(x509.SubjectAlternativeName)


def test_a_request_with_any_byte_altered_is_refused(changing: Authority) -> None:
    pem = make_request("south")
    lines = pem.splitlines()
    body = base64.b64decode(b"".join(lines[1:-1]))
    signed = x509.load_pem_x509_csr(pem).tbs_certrequest_bytes
    before = read_all(changing.folder)
    for place in range(body.index(signed), body.index(signed) + len(signed)):
        altered = base64.encodebytes(body[:place] + bytes([body[place] ^ 1]) + body[place + 1 :])
        with pytest.raises((DataError, SettingsError)):
            changing.sign(b"\n".join([lines[0], altered.strip(), lines[-1]]), "south")
    assert read_all(changing.folder) == before


@pytest.mark.parametrize("data", [b"", b"garbage", b"-----BEGIN CERTIFICATE REQUEST-----\n\n"])
def test_an_invalid_request_is_refused(data: bytes, changing: Authority) -> None:
    with pytest.raises(DataError, match=r"^the request: .*`python -m client pki request`"):
        changing.sign(data, "south")


@pytest.mark.parametrize(
    "key",
    [
        ec.generate_private_key(ec.SECP384R1()),
        ec.generate_private_key(ec.SECP256K1()),
        rsa.generate_private_key(65537, 2048),
        ed25519.Ed25519PrivateKey.generate(),
    ],
    ids=["p-384", "secp256k1", "rsa", "ed25519"],
)
def test_a_request_with_an_unsupported_kind_of_key_is_refused(key: Any, changing: Authority) -> None:
    with pytest.raises(DataError, match=r"^the request: .* P-256$"):
        changing.sign(make_request("south", key), "south")


def test_a_request_from_another_site_is_refused(changing: Authority) -> None:
    with pytest.raises(DataError, match=r"^the request: from site north; expected one from site south$"):
        changing.sign(make_request("north"), "south")
    assert credentials_of(changing, "north").name == "north", "its key is still here"


def test_the_local_site_needs_no_request(changing: Authority) -> None:
    with pytest.raises(DataError, match=r"^the request: from site local, which"):
        changing.sign(make_request("local"), "local")


def test_an_existing_key_is_never_overwritten(changing: Authority, tmp_path: Path) -> None:
    csr.create("south", tmp_path / "own")
    before = read_all(tmp_path / "own")
    with pytest.raises(DataError, match=r"site\.key: a key exists already; expected a folder without one"):
        csr.create("south", tmp_path / "own")
    assert read_all(tmp_path / "own") == before


def test_an_interrupted_request_can_be_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original, folder = files.atomic_write, tmp_path / "own"

    def write(path: Path, mode: int | None = None) -> AbstractContextManager[IO[bytes]]:
        if path.name == "site.key":
            raise KeyboardInterrupt
        return original(path, mode)

    with monkeypatch.context() as patch:
        patch.setattr(csr, "atomic_write", write)
        with pytest.raises(KeyboardInterrupt):
            csr.create("south", folder)
    request = x509.load_pem_x509_csr(csr.create("south", folder).read_bytes())
    key = serialization.load_pem_private_key((folder / "site.key").read_bytes(), None)
    assert request.public_key() == key.public_key()
