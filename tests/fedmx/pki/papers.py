"""Authorities and credentials for tests: valid ones, and invalid ones that no command would write."""

import shutil
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
from cryptography import x509

from fedmx.deployment_settings import PkiSettings
from fedmx.pki import certificates
from fedmx.pki.access import PeerVerifier
from fedmx.pki.authority import Authority
from fedmx.pki.certificates import SERVER, SITE
from fedmx.pki.credentials import Credentials, read_credentials
from fedmx.values import Address
from tests.fedmx.link.loopback import Hub, Node, Worker
from tests.fedmx.link.raw_node import RawNode

LONG_AGO = datetime.now(UTC) - timedelta(days=100)
IN_A_YEAR = datetime.now(UTC) + timedelta(days=365)


def open_authority(folder: Path, now: datetime | None = None, **settings: Any) -> Authority:
    """Open an authority's folder, as a command at this time would."""
    return Authority(PkiSettings(pki_dir=folder, **settings), now)


def make_pki(folder: Path, *sites: str, **settings: Any) -> Authority:
    """Create an authority that is 100 days old, with the files of its server and of sites."""
    with open_authority(folder, LONG_AGO, **settings).locked():
        open_authority(folder, LONG_AGO, **settings).create()
    authority = open_authority(folder, **settings)
    authority.ensure()
    for name in sites:
        authority.issue_site(name)
    return authority


def credentials_of(authority: Authority, name: str = SERVER) -> Credentials:
    """Return the credentials of the server or of a site."""
    role = SERVER if name == SERVER else SITE
    return read_credentials(authority.folder_of(role, name), role)


def verifier_of(authority: Authority) -> PeerVerifier:
    """Return the peer verifier of the authority's server."""
    return PeerVerifier(credentials_of(authority), authority.folder / "server" / "revoked.txt")


def load(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def own_serial(authority: Authority, name: str) -> str:
    return certificates.serial_of(load(authority.folder_of(SITE, name) / "site.crt"))


def read_revoked(authority: Authority) -> list[str]:
    """Return the revoked serial numbers that the server reads."""
    return (authority.folder / "server" / "revoked.txt").read_text().split()


def read_all(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def ask_python(folder: Path, host: str) -> bool:
    """Return whether a handshake in memory accepts the server's certificate for a host."""
    ours = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ours.load_cert_chain(folder / "server.crt", folder / "server.key")
    theirs = ssl.create_default_context(cafile=folder / "authority.crt")
    theirs.verify_flags |= ssl.VERIFY_X509_STRICT
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    server, client = (
        ours.wrap_bio(up, down, server_side=True),
        theirs.wrap_bio(down, up, server_hostname=host),
    )
    for end in (client, server, client):
        try:
            end.do_handshake()
        except ssl.SSLWantReadError:
            continue
        except ssl.SSLCertVerificationError:
            return False
    return True


class SecureRawNode(RawNode):
    """A node that sends the frames and the credentials of the test.

    Args:
        address: the server's.
        credentials: its credentials; None for no certificate.
        authority: the authority that it trusts, PEM, if it has no certificate.
        reads: whether it reads what the server sends.
    """

    def __init__(
        self,
        address: Address,
        credentials: Credentials | None,
        *,
        authority: bytes | None = None,
        reads: bool = True,
    ) -> None:
        tls = credentials.for_node() if credentials else grpc.ssl_channel_credentials(authority)
        super().__init__(address, reads=reads, tls=tls)


def start_node(
    hub: Hub, credentials: Credentials, instance: str, worker: Worker | None = None, **options: Any
) -> Node:
    """Start a node of a site and wait until it is ready under its site's name."""
    node = Node(hub.address, instance, worker, credentials=credentials, **options).serve()
    hub.nodes.append(node)
    hub.await_ready(f"{credentials.name}.{instance}")
    return node


class Mistakes:
    """Invalid credentials of a program, each with one mistake.

    Args:
        authority: the federation's authority.
        other: another federation's authority.
        folder: where they are written.
    """

    def __init__(self, authority: Authority, other: Authority, folder: Path) -> None:
        self._authority = authority
        self._other = other
        self._folder = folder

    def make(self, mistake: str, role: str) -> Path:
        """Write credentials of this role with one of the mistakes; return their folder."""
        folder = self._folder / f"{role}-{mistake.replace(' ', '-')}"
        shutil.copytree(self._authority.folder_of(role, "local"), folder)
        getattr(self, f"_{mistake.replace(' ', '_')}")(folder, role)
        return folder

    def _missing_folder(self, folder: Path, _: str) -> None:
        shutil.rmtree(folder)

    def _missing_key(self, folder: Path, role: str) -> None:
        (folder / f"{role}.key").unlink()

    def _garbage(self, folder: Path, role: str) -> None:
        (folder / f"{role}.crt").write_bytes(b"\0garbage\n")

    def _garbage_key(self, folder: Path, role: str) -> None:
        (folder / f"{role}.key").write_bytes(b"\0garbage\n")

    def _unreadable_key(self, folder: Path, role: str) -> None:
        (folder / f"{role}.key").chmod(0)

    def _expired(self, folder: Path, role: str) -> None:
        self._issue(folder, role, LONG_AGO)

    def _not_yet_valid(self, folder: Path, role: str) -> None:
        self._issue(folder, role, IN_A_YEAR)

    def _other_authority(self, folder: Path, role: str) -> None:
        shutil.copy(self._other.folder_of(role, "local") / f"{role}.crt", folder)

    def _other_role(self, folder: Path, role: str) -> None:
        other = SITE if role == SERVER else SERVER
        source = self._authority.folder_of(other, "local")
        for kind in ("crt", "key"):
            shutil.copy(source / f"{other}.{kind}", folder / f"{role}.{kind}")

    def _other_key(self, folder: Path, role: str) -> None:
        shutil.copy(self._other.folder_of(role, "local") / f"{role}.key", folder)

    def _issue(self, folder: Path, role: str, now: datetime) -> None:
        """Replace the credentials by those issued at another time."""
        aside = open_authority(folder.with_suffix(".pki"), now, certificate_days=30.0)
        shutil.copytree(self._authority.folder / "authority", aside.folder / "authority")
        if role == SERVER:
            aside.issue_server()
        else:
            aside.issue_site("local")
        shutil.rmtree(folder)
        shutil.copytree(aside.folder_of(role, "local"), folder)


# The error message of each mistake, word for word.
MESSAGES = {
    "missing folder": r"{folder}/authority\.crt: no such file; expected {how}, or LINK_SECURITY=insecure",
    "missing key": r"{folder}/{role}\.key: no such file; expected {how}",
    "garbage": r"{folder}/{role}\.crt: not a valid PEM certificate; expected {how}",
    "garbage key": r"{folder}/{role}\.key: not a valid PEM private key without a password; expected {how}",
    "unreadable key": (
        r"{folder}/{role}\.key: Permission denied; expected a file that this user \(uid \d+\) can read"
    ),
    "expired": r"{folder}/{role}\.crt: expired on [\d :-]+ UTC \(now: [\d :-]+\); expected .+",
    "not yet valid": r"{folder}/{role}\.crt: not valid before [\d :-]+ UTC \(now: [\d :-]+\); expected .+",
    "other authority": (
        r"{folder}/{role}\.crt: not issued by the authority of {folder}/authority\.crt; expected both files"
        r" from one federation"
    ),
    "other role": r"{folder}/{role}\.crt: the certificate's role is {other}, not {role}; expected {how}",
    "other key": (
        r"{folder}/{role}\.key: not the key of {role}\.crt; expected the key that this certificate was"
        r" issued for"
    ),
}
_HOW = {
    SERVER: r"the files that `python -m server pki ensure` writes",
    SITE: r"the files of a site's bundle \(`make bundle` on the server's machine\)",
}


def message_of(mistake: str, folder: Path, role: str) -> str:
    """Return a pattern of the error message of a mistake."""
    other = SITE if role == SERVER else SERVER
    return MESSAGES[mistake].format(folder=folder, role=role, other=other, how=_HOW[role])
