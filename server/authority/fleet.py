"""The files of a SuperLink fleet: who may join, the keys of the SuperNodes on this machine, and secrets.

One folder contains them, in parts that hold no more than their readers need:

    superlink/     the authority's certificate, who may join as a SuperNode, and a secret
    supernodes/    the authority's certificate, and for each SuperNode on this machine its key and a secret
    clientapps/    the same secrets, for the programs that start a SuperNode's ClientApp
"""

import secrets
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from fedmx.errors import DataError
from fedmx.files import atomic_write, disk_errors
from fedmx.pki import ssh
from fedmx.pki.authority import LOCAL_SITE, Authority
from fedmx.pki.certificates import AUTHORITY_FILE, SITE, UNREADABLE, read_certificate, read_key
from fedmx.pki.credentials import read_certificates
from fedmx.pki.register import Issued

PREFIX = "supernode-"
"""The beginning of the names of sites whose SuperNodes are on this machine."""
MEMBERS_FILE = "members.txt"
"""The public keys of all sites that may join, in the form of OpenSSH, one per line."""
KEY_FILE = "node.key"
SECRET_FILE = "superexec.secret"  # noqa: S105 - a name
_SECRET_BYTES = 32
_EXPECTED = "expected a site that has a certificate"


def issue(authority: Authority, count: int) -> list[Issued]:
    """Issue missing and expiring certificates of the SuperNodes on this machine, unless they were revoked."""
    names = (f"{PREFIX}{number}" for number in range(1, count + 1))
    return [
        # A SuperNode that runs would be refused with the key of a certificate that was replaced.
        authority.issue_site(name, _read_key(authority.folder_of(SITE, name) / "site.key"))
        for name in names
        if not authority.is_revoked(name) and authority.find_need(SITE, name)
    ]


def write(authority: Authority, folder: Path) -> list[str]:
    """Write the files of a fleet.

    Returns:
        The names of the sites that may join.

    Raises:
        DataError: a file cannot be read or written.
    """
    root = (authority.folder / "authority" / AUTHORITY_FILE).read_bytes()
    members = dict(_list_members(authority))
    for part in ("superlink", "supernodes"):
        _write(folder / part / AUTHORITY_FILE, root, 0o644)
    _write(
        folder / "superlink" / MEMBERS_FILE, "".join(f"{key}\n" for key in members.values()).encode(), 0o644
    )
    _share_secret(folder / "superlink")
    for name in members:
        key = authority.folder_of(SITE, name) / "site.key"
        number = name.removeprefix(PREFIX)
        if name.startswith(PREFIX) and number.isdecimal() and key.exists():
            certificate = read_certificate(key.with_name("site.crt"), _EXPECTED)
            pem, _ = read_key(key, certificate, _EXPECTED)
            _write(folder / "supernodes" / number / KEY_FILE, ssh.encode_private(pem), 0o600)
            _share_secret(folder / "supernodes" / number, folder / "clientapps" / number)
    return list(members)


def encode_key(authority: Authority, name: str) -> str:
    """Return a site's public key in the form of OpenSSH.

    Raises:
        DataError: the site has no certificate.
    """
    return ssh.encode_public(read_certificate(authority.folder_of(SITE, name) / "site.crt", _EXPECTED))


def _list_members(authority: Authority) -> Iterator[tuple[str, str]]:
    """Yield each site that may join, and its public key.

    The site of the direct link's clients on this machine is left out: they use its key.
    """
    now = datetime.now(UTC)
    for name in sorted({one.name for one in authority.list() if one.role == SITE}):
        if name == LOCAL_SITE or authority.is_revoked(name):
            continue
        try:
            # A site whose certificate has expired is left out.
            _, certificate = read_certificates(authority.folder_of(SITE, name), SITE, now)
        except DataError:
            continue
        yield name, ssh.encode_public(certificate)


def _read_key(path: Path) -> ec.EllipticCurvePrivateKey | None:
    """Return a site's key; None if it has none that is valid."""
    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except (OSError, *UNREADABLE):
        return None
    return key if isinstance(key, ec.EllipticCurvePrivateKey) else None


def _share_secret(*folders: Path) -> None:
    """Write a secret of the first folder to the others, and generate it if there is none."""
    path = folders[0] / SECRET_FILE
    with disk_errors(path):
        secret = path.read_bytes() if path.exists() else secrets.token_bytes(_SECRET_BYTES)
    for folder in folders:
        _write(folder / SECRET_FILE, secret, 0o600)


def _write(path: Path, data: bytes, mode: int) -> None:
    """Write a file, unless it has this content: programs may be reading it."""
    with disk_errors(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if path.exists() and path.read_bytes() == data:
            return
    with atomic_write(path, mode) as file:
        file.write(data)
