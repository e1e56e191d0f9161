"""The authority's own key and certificate, which every other certificate depends on."""

import os
from datetime import datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from fedmx.errors import DataError
from fedmx.files import atomic_write
from fedmx.pki import signing
from fedmx.pki.certificates import (
    AUTHORITY_FILE,
    expires_within,
    find_date_problem,
    read_certificate,
    read_key,
)
from fedmx.pki.signing import Validity


class Root:
    """The key pair of an authority.

    Args:
        folder: folder of its two files.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder / AUTHORITY_FILE
        self._key_path = folder / "authority.key"

    @property
    def exists(self) -> bool:
        """Whether there is an authority."""
        return self._path.exists()

    def create(self, validity: Validity) -> None:
        """Generate the key and write it with its certificate.

        Raises:
            DataError: the files cannot be written.
        """
        key = signing.generate_key()
        certificate = signing.self_sign(key, f"fedmx authority {os.urandom(4).hex()}", validity)
        with atomic_write(self._key_path, 0o600) as file:
            file.write(signing.encode_key(key))
        with atomic_write(self._path, 0o644) as file:
            file.write(certificate.public_bytes(Encoding.PEM))

    def read_certificate(self, now: datetime) -> x509.Certificate:
        """Read the certificate.

        Raises:
            DataError: it is missing, cannot be read, or is not valid now.
        """
        if not self.exists:
            raise DataError(
                f"{self._folder}: no authority found; create one with `python -m server pki init`"
            )
        certificate = read_certificate(self._path, "expected the authority's certificate")
        if problem := find_date_problem(certificate, now):
            raise DataError(
                f"{self._path}: {problem}; expected a valid authority: move {self._folder} away and create"
                " one with `python -m server pki ensure`"
            )
        return certificate

    def describe_expiry(self, days: float, now: datetime) -> str | None:
        """Return a warning if the certificate has expired or expires within some days, else None."""
        try:
            certificate = read_certificate(self._path, "")
        except DataError:
            # A command that needs the certificate reports this.
            return None
        if not expires_within(certificate, days, now):
            return None
        end = certificate.not_valid_after_utc
        verb = "expires" if now <= end else "expired"
        return (
            f"the authority {verb} on {end:%Y-%m-%d}, and every certificate with it; to replace it, move"
            f" {self._folder} away, run `python -m server pki ensure` and write new bundles for all sites"
        )

    def read_key(self, certificate: x509.Certificate) -> ec.EllipticCurvePrivateKey:
        """Read the key of the authority's certificate.

        Raises:
            DataError: it is missing, cannot be read, or is not the certificate's key.
        """
        _, key = read_key(self._key_path, certificate, "expected the authority's key")
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise DataError(f"{self._key_path}: unsupported kind of key; expected an elliptic curve key")
        return key
