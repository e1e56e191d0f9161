"""Reading certificates and keys from files, and what fedmx uses of them: name, role, serial number, dates."""

import os
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509.oid import NameOID

from fedmx.errors import DataError

# Roles. A certificate carries its role as the organizational unit of its subject.
SERVER, SITE = "server", "site"
AUTHORITY_FILE = "authority.crt"
# Beside the server's certificate: revoked serial numbers, hexadecimal, one per line.
REVOKED_FILE = "revoked.txt"

# What `cryptography` raises for input that is malformed, or of a kind that it does not support.
UNREADABLE = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)


def name_of(certificate: x509.Certificate) -> str:
    """Return the name that a certificate was issued to; empty if it has none."""
    return _read_subject(certificate, NameOID.COMMON_NAME)


def role_of(certificate: x509.Certificate) -> str:
    """Return a certificate's role; empty if it has none."""
    return _read_subject(certificate, NameOID.ORGANIZATIONAL_UNIT_NAME)


def serial_of(certificate: x509.Certificate) -> str:
    """Return a certificate's serial number, hexadecimal."""
    return f"{certificate.serial_number:x}"


def read_certificate(path: Path, expected: str) -> x509.Certificate:
    """Read a certificate.

    Args:
        path: its file.
        expected: how an error message ends.

    Raises:
        DataError: the file is missing, cannot be read, or is not a certificate.
    """
    pem = _read(path, expected)
    try:
        certificate = x509.load_pem_x509_certificate(pem)
        # `cryptography` parses these on first access; a malformed certificate must fail here.
        _ = certificate.subject, certificate.issuer, certificate.public_key(), list(certificate.extensions)
    except UNREADABLE:
        raise DataError(f"{path}: not a valid PEM certificate; {expected}") from None
    return certificate


def read_key(path: Path, certificate: x509.Certificate, expected: str) -> tuple[bytes, PrivateKeyTypes]:
    """Read the private key of a certificate.

    Args:
        path: the key's file.
        certificate: the certificate that it must belong to.
        expected: how an error message ends.

    Returns:
        The key's PEM, and the key.

    Raises:
        DataError: the file is missing, cannot be read, or is not the certificate's key.
    """
    pem = _read(path, expected)
    try:
        key = load_pem_private_key(pem, password=None)
    except UNREADABLE:
        raise DataError(f"{path}: not a valid PEM private key without a password; {expected}") from None
    if key.public_key() != certificate.public_key():
        raise DataError(
            f"{path}: not the key of {path.stem}.crt; expected the key that this certificate was issued for"
        )
    return pem, key


def find_date_problem(certificate: x509.Certificate, now: datetime) -> str | None:
    """Return why a certificate is not valid at a time, or None if it is."""
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if now < begin:
        return f"not valid before {begin:%Y-%m-%d %H:%M} UTC (now: {now:%Y-%m-%d %H:%M})"
    if now > end:
        return f"expired on {end:%Y-%m-%d %H:%M} UTC (now: {now:%Y-%m-%d %H:%M})"
    return None


def expires_within(certificate: x509.Certificate, days: float, now: datetime) -> bool:
    """Return whether a certificate expires in fewer days than given."""
    return (certificate.not_valid_after_utc - now) / timedelta(days=1) < days


def _read_subject(certificate: x509.Certificate, oid: x509.ObjectIdentifier) -> str:
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
