"""Who may join: sites whose certificates are of this federation, in date and not revoked."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509

from fedmx.errors import DataError, RefusedError
from fedmx.link import certificates
from fedmx.link.certificates import SITE, Credentials
from fedmx.log import printable, warn

_SERIAL = re.compile("[0-9a-f]{1,40}")


@dataclass(frozen=True)
class Site:
    """Whoever is at the other end of a stream, as its certificate says; that is of the authority by then."""

    name: str
    certificate: x509.Certificate

    @property
    def serial(self) -> str:
        """The certificate's serial number, hexadecimal."""
        return certificates.serial_of(self.certificate)

    def name_node(self, instance: str) -> str:
        """Give the name of one of its nodes; no other site's node can have it."""
        prefix = f"{self.name}."
        return instance if instance.startswith(prefix) else prefix + instance


class Gate:
    """Checks certificates against the authority, their dates, and the list of those that are revoked.

    Args:
        own: the server's credentials.
        revoked: the file with the list; it is read again whenever it has changed.

    Raises:
        DataError: the list cannot be read.
    """

    def __init__(self, own: Credentials, revoked: Path) -> None:
        self.own = own
        self._path = revoked
        self._read_at: tuple[int, int] | None = None
        self._revoked: frozenset[str] = frozenset()
        try:
            self._read_revoked()
        except (OSError, ValueError) as error:
            raise DataError(
                f"{revoked}: cannot be read: {error}; expected who is revoked, as `python -m server pki"
                " ensure` writes it"
            ) from None

    def identify(self, pem: bytes) -> Site:
        """Say whose a peer's certificate is.

        Args:
            pem: as gRPC gives it: it has checked that the certificate is of the authority.

        Raises:
            RefusedError: it is of another role than a site's, not in date, or revoked.
        """
        try:
            certificate = x509.load_pem_x509_certificate(pem)
        except certificates.UNREADABLE:
            raise RefusedError("no certificate that can be read; expected a site's (`make bundle`)") from None
        site = Site(certificates.name_of(certificate), certificate)
        if (role := certificates.role_of(certificate)) != SITE:
            raise RefusedError(
                f"the certificate of {printable(site.name, 80)!r} has role {printable(role, 80) or 'none'!r};"
                " expected a site's (`make bundle`)"
            )
        if fault := self.find_fault(site):
            raise RefusedError(fault)
        return site

    def find_fault(self, site: Site) -> str | None:
        """Say why a site may not take part any more, or give None."""
        self._look_at_revoked()
        if site.serial in self._revoked:
            return f"the certificate of site {site.name} is revoked (serial {site.serial})"
        fault = certificates.find_fault_of_dates(site.certificate, datetime.now(UTC))
        return f"the certificate of site {site.name}: {fault}" if fault else None

    def _look_at_revoked(self) -> None:
        """Read the list again if it has changed; one that cannot be read takes nothing back."""
        try:
            self._read_revoked()
        except (OSError, ValueError) as error:
            if self._read_at is not None:
                warn("cannot read who is revoked, going by what was", file=self._path, cause=error)
            self._read_at = None

    def _read_revoked(self) -> None:
        found = self._path.stat()
        state = (found.st_ino, found.st_mtime_ns)
        if state != self._read_at:
            serials = self._path.read_text().splitlines()
            if wrong := [serial for serial in serials if _SERIAL.fullmatch(serial) is None]:
                raise ValueError(f"{printable(wrong[0], 80)!r} is no serial number")
            self._revoked, self._read_at = frozenset(serials), state
