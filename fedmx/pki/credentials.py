"""A program's own credentials for the link: its certificate and key, and the certificate of its authority.

Each program has a folder with three files: `authority.crt`, and `server.crt` with `server.key`, or `site.crt`
with `site.key`. They are checked before the program listens or connects. `pki` commands write them.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import grpc
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from fedmx.deployment_settings import PkiSettings
from fedmx.errors import DataError
from fedmx.files import atomic_write, disk_errors
from fedmx.log import warn
from fedmx.pki.certificates import (
    AUTHORITY_FILE,
    SERVER,
    SITE,
    UNREADABLE,
    expires_within,
    find_date_problem,
    name_of,
    read_certificate,
    read_key,
    role_of,
)
from fedmx.pki.signing import encode_key

_HOW_TO_GET = {
    SERVER: "expected the files that `python -m server pki ensure` writes",
    SITE: "expected the files of a site's bundle (`make bundle` on the server's machine)",
}
# The server does not have RENEW_DAYS, which is a setting of the authority.
_WARNING_DAYS = PkiSettings().renew_days


@dataclass(frozen=True)
class Credentials:
    """A program's credentials, checked.

    Attributes:
        authority: certificate that the other side is verified against, PEM.
        certificate, key: of this program, PEM.
        name: name of the site, or `server`.
        paths: files of the certificate and the key.
    """

    authority: bytes
    certificate: bytes
    key: bytes = field(repr=False)
    name: str
    paths: tuple[Path, Path]

    def for_server(self) -> grpc.ServerCredentials:
        """Return gRPC's server credentials, which require a certificate of the authority from every peer."""
        return grpc.ssl_server_credentials(
            [(self.key, self.certificate)], root_certificates=self.authority, require_client_auth=True
        )

    def for_node(self) -> grpc.ChannelCredentials:
        """Return gRPC's channel credentials."""
        return grpc.ssl_channel_credentials(self.authority, self.key, self.certificate)


def load_credentials(role: str, certs_dir: Path, security: str) -> Credentials | None:
    """Read the credentials of a program that is about to start.

    Args:
        role: `SERVER` or `SITE`.
        certs_dir: CERTS_DIR.
        security: LINK_SECURITY.

    Returns:
        None, after a WARNING, if `security` is `insecure`.

    Raises:
        DataError: a file is missing, cannot be read, or is not valid.
    """
    if security == "insecure":
        warn("LINK_SECURITY=insecure: anyone who can reach this connection can read it and join")
        return None
    loaded = read_credentials(certs_dir, role)
    authority = x509.load_pem_x509_certificate(loaded.authority)
    if role == SERVER and expires_within(authority, _WARNING_DAYS, datetime.now(UTC)):
        warn(
            "the authority expires soon, and every certificate with it; `python -m server pki list` shows how"
            " to replace it",
            expires=f"{authority.not_valid_after_utc:%Y-%m-%d}",
        )
    return loaded


def read_credentials(folder: Path, role: str) -> Credentials:
    """Read and check a program's credentials.

    Args:
        folder: CERTS_DIR.
        role: `SERVER` or `SITE`.

    Raises:
        DataError: a file is missing, cannot be read, or is not valid.
    """
    authority, certificate = read_certificates(folder, role)
    paths = folder / f"{role}.crt", folder / f"{role}.key"
    key, _ = read_key(paths[1], certificate, _HOW_TO_GET[role])
    return Credentials(
        authority=authority.public_bytes(Encoding.PEM),
        certificate=certificate.public_bytes(Encoding.PEM),
        key=key,
        name=name_of(certificate),
        paths=paths,
    )


def read_certificates(
    folder: Path, role: str, now: datetime | None = None
) -> tuple[x509.Certificate, x509.Certificate]:
    """Read and check the authority's certificate and a program's own.

    Args:
        folder: CERTS_DIR.
        role: `SERVER` or `SITE`.
        now: the time in UTC; the current time if None.

    Raises:
        DataError: a file is missing, cannot be read, or is not valid.
    """
    authority_path, path = folder / AUTHORITY_FILE, folder / f"{role}.crt"
    authority = read_certificate(authority_path, f"{_HOW_TO_GET[role]}, or LINK_SECURITY=insecure")
    certificate = read_certificate(path, _HOW_TO_GET[role])
    found = role_of(certificate) or "none"
    if found != role:
        raise DataError(f"{path}: the certificate's role is {found}, not {role}; {_HOW_TO_GET[role]}")
    try:
        certificate.verify_directly_issued_by(authority)
    except (*UNREADABLE, InvalidSignature):
        raise DataError(
            f"{path}: not issued by the authority of {authority_path}; expected both files from one"
            " federation"
        ) from None
    for checked_path, checked in ((authority_path, authority), (path, certificate)):
        if problem := find_date_problem(checked, now or datetime.now(UTC)):
            raise DataError(
                f"{checked_path}: {problem}; expected a valid certificate (`python -m server pki renew` on"
                " the server's machine) and a correct clock on this machine"
            )
    return authority, certificate


def write_credentials(
    folder: Path,
    role: str,
    key: ec.EllipticCurvePrivateKey | ec.EllipticCurvePublicKey,
    authority: x509.Certificate,
    certificate: x509.Certificate,
) -> None:
    """Write a program's credentials.

    Args:
        folder: where to write them; created if it does not exist.
        role: `SERVER` or `SITE`.
        key: its private key, or its public key if the program keeps its private key elsewhere.
        authority: the authority's certificate.
        certificate: the program's certificate.

    Raises:
        DataError: they cannot be written.
    """
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True, mode=0o755)
    # The key is written first: a certificate alone would look like that of a site that keeps its own key.
    key_path = folder / f"{role}.key"
    if isinstance(key, ec.EllipticCurvePrivateKey):
        _write(key_path, encode_key(key), 0o600)
    else:
        key_path.unlink(missing_ok=True)
    _write(folder / AUTHORITY_FILE, authority.public_bytes(Encoding.PEM), 0o644)
    _write(folder / f"{role}.crt", certificate.public_bytes(Encoding.PEM), 0o644)


def _write(path: Path, data: bytes, mode: int) -> None:
    with atomic_write(path, mode) as file:
        file.write(data)
