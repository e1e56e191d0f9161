"""What a program shows of itself on the link: its certificate and key, and the authority that it believes.

A program has a folder with three files: `authority.crt`, and `server.crt` with `server.key`, or `site.crt`
with `site.key`. They are checked here before anything is dialled or listened on. `pki` makes them.
"""

import os
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import grpc
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from cryptography.x509.oid import NameOID

from fedmx.errors import DataError
from fedmx.log import warn
from fedmx.settings import ClientSettings, ServerSettings

SERVER, SITE = "server", "site"  # roles; a certificate says its own as its subject's organizational unit
AUTHORITY_FILE = "authority.crt"
REVOKED_FILE = "revoked.txt"  # beside a server's certificate: serial numbers, hexadecimal, a line each

# What `cryptography` raises for a text that is not what it should be, or of a kind that it does not know.
UNREADABLE = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)

_HOW_TO_GET = {
    SERVER: "expected what `python -m server pki ensure` writes",
    SITE: "expected the files of a site's bundle (`make bundle` on the server's machine)",
}


@dataclass(frozen=True)
class Credentials:
    """A program's own files, checked.

    Attributes:
        authority: the certificate that others are checked against, PEM.
        certificate, key: of this program, PEM.
        name: of the site, or `server`.
        paths: of the certificate's and the key's files.
    """

    authority: bytes
    certificate: bytes
    key: bytes = field(repr=False)
    name: str
    paths: tuple[Path, Path]

    def for_server(self) -> grpc.ServerCredentials:
        """Give what gRPC's server takes: it then asks every peer for a certificate of the authority."""
        return grpc.ssl_server_credentials(
            [(self.key, self.certificate)], root_certificates=self.authority, require_client_auth=True
        )

    def for_node(self) -> grpc.ChannelCredentials:
        """Give what gRPC's channel takes."""
        return grpc.ssl_channel_credentials(self.authority, self.key, self.certificate)


def open_own(settings: ServerSettings | ClientSettings) -> Credentials | None:
    """Give what a program of these settings shows; None, with a warning, where LINK_SECURITY=insecure.

    Raises:
        DataError: its files do not do.
    """
    if settings.link_security == "insecure":
        warn("LINK_SECURITY=insecure: whoever reaches this connection can read along, and take part")
        return None
    return read_own(settings.certs_dir, SERVER if isinstance(settings, ServerSettings) else SITE)


def name_of(certificate: x509.Certificate) -> str:
    """Give whose a certificate is; empty where it does not say."""
    return _subject(certificate, NameOID.COMMON_NAME)


def role_of(certificate: x509.Certificate) -> str:
    """Give a certificate's role; empty where it has none."""
    return _subject(certificate, NameOID.ORGANIZATIONAL_UNIT_NAME)


def serial_of(certificate: x509.Certificate) -> str:
    """Give a certificate's serial number, hexadecimal."""
    return f"{certificate.serial_number:x}"


def read_own(folder: Path, role: str) -> Credentials:
    """Read and check a program's own files.

    Args:
        folder: CERTS_DIR.
        role: `SERVER` or `SITE`.

    Raises:
        DataError: a file is missing, cannot be read, or does not fit.
    """
    authority, certificate = read_certificates(folder, role)
    paths = folder / f"{role}.crt", folder / f"{role}.key"
    key, _ = read_key(paths[1], certificate, _HOW_TO_GET[role])
    authority_pem, pem = (one.public_bytes(Encoding.PEM) for one in (authority, certificate))
    return Credentials(authority_pem, pem, key, name_of(certificate), paths)


def read_certificates(
    folder: Path, role: str, now: datetime | None = None
) -> tuple[x509.Certificate, x509.Certificate]:
    """Read and check the authority's certificate and a program's own.

    Args:
        folder: CERTS_DIR.
        role: `SERVER` or `SITE`.
        now: in place of the time, which is UTC.

    Raises:
        DataError: a file is missing, cannot be read, or does not fit.
    """
    authority_path, path = folder / AUTHORITY_FILE, folder / f"{role}.crt"
    authority = read_certificate(authority_path, f"{_HOW_TO_GET[role]}, or LINK_SECURITY=insecure")
    certificate = read_certificate(path, _HOW_TO_GET[role])
    found = role_of(certificate) or "no"
    if found != role:
        raise DataError(
            f"{path}: a certificate of role {found}; expected one of role {role}: {_HOW_TO_GET[role]}"
        )
    try:
        certificate.verify_directly_issued_by(authority)
    except (*UNREADABLE, InvalidSignature):
        raise DataError(
            f"{path}: of another authority than {authority_path}; expected both files of one federation"
        ) from None
    for one, checked in ((authority_path, authority), (path, certificate)):
        if fault := find_fault_of_dates(checked, now or datetime.now(UTC)):
            raise DataError(
                f"{one}: {fault}; expected a certificate that is in date (`python -m server pki renew` on the"
                " server's machine), and a clock that is right on this one"
            )
    return authority, certificate


def read_certificate(path: Path, expected: str) -> x509.Certificate:
    """Read a certificate.

    Args:
        path: of its file.
        expected: how a message about it ends.

    Raises:
        DataError: it is missing, cannot be read, or is none.
    """
    try:
        certificate = x509.load_pem_x509_certificate(_read(path, expected))
        # What the rest of this project looks at; it is taken apart only when it is asked for.
        _ = certificate.subject, certificate.issuer, certificate.public_key(), list(certificate.extensions)
    except UNREADABLE:
        raise DataError(f"{path}: no certificate in PEM; {expected}") from None
    return certificate


def read_key(path: Path, certificate: x509.Certificate, expected: str) -> tuple[bytes, PrivateKeyTypes]:
    """Read the key of a certificate.

    Args:
        path: of the key's file.
        certificate: whose key it has to be.
        expected: how a message about it ends.

    Raises:
        DataError: it is missing, cannot be read, is none, or is another's.
    """
    pem = _read(path, expected)
    try:
        key = load_pem_private_key(pem, password=None)
    except UNREADABLE:
        raise DataError(f"{path}: no private key in PEM without a password; {expected}") from None
    if key.public_key() != certificate.public_key():
        raise DataError(
            f"{path}: not the key of {path.stem}.crt; expected the key that this certificate was made for"
        )
    return pem, key


def find_fault_of_dates(certificate: x509.Certificate, now: datetime) -> str | None:
    """Say why a certificate is not in date, or give None."""
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if now < begin:
        return f"not valid before {begin:%Y-%m-%d %H:%M} UTC, it is {now:%Y-%m-%d %H:%M}"
    if now > end:
        return f"expired on {end:%Y-%m-%d %H:%M} UTC, it is {now:%Y-%m-%d %H:%M}"
    return None


def _subject(certificate: x509.Certificate, oid: x509.ObjectIdentifier) -> str:
    values = [str(attribute.value) for attribute in certificate.subject.get_attributes_for_oid(oid)]
    return values[0] if len(values) == 1 else ""


def _read(path: Path, expected: str) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; {expected}") from None
    except OSError as error:
        raise DataError(
            f"{path}: {error.strerror}; expected a file that this user (uid {os.getuid()}) can read"
        ) from None
