"""Access: a site may join with a valid certificate from the federation's authority that is not revoked."""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509

from fedmx.errors import DataError, RefusedError
from fedmx.log import printable, warn
from fedmx.pki import certificates
from fedmx.pki.certificates import SITE
from fedmx.pki.credentials import Credentials

_SERIAL = re.compile("[0-9a-f]{1,40}")
# A wrong clock or a file that is half written may be right again a moment later, so such a problem must last
# this long before it counts. Together with the interval between the server's checks, this is
# less than the 10 s that SECURITY.md promises.
_CONFIRM_AFTER_S = 5.0


@dataclass(frozen=True)
class Site:
    """The site at the other end of a stream, according to its certificate, which TLS has verified."""

    name: str
    certificate: x509.Certificate

    @property
    def serial(self) -> str:
        """The certificate's serial number, hexadecimal."""
        return certificates.serial_of(self.certificate)

    def name_node(self, instance: str) -> str:
        """Return the full name of one of the site's nodes, which no node of another site can have."""
        prefix = f"{self.name}."
        return instance if instance.startswith(prefix) else prefix + instance


def _now() -> datetime:
    return datetime.now(UTC)


class PeerVerifier:
    """Checks the role of certificates, their dates, and whether they are revoked.

    Args:
        credentials: the server's credentials.
        revoked_path: the list of revoked serial numbers; read again whenever it changes.
        now: the wall clock, for the dates of certificates.
        clock: a monotonic clock, in seconds.

    Raises:
        DataError: the list of revoked serial numbers cannot be read.
    """

    def __init__(
        self,
        credentials: Credentials,
        revoked_path: Path,
        now: Callable[[], datetime] = _now,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.credentials = credentials
        self._path = revoked_path
        self._now = now
        self._clock = clock
        self._read_at: tuple[int, int] | None = None
        self._is_unreadable_logged = False
        self._revoked: frozenset[str] = frozenset()
        # When each problem that is not confirmed yet was first seen, by serial number or file name.
        self._first_seen: dict[str, float] = {}
        try:
            self._read_revoked()
        except (OSError, ValueError) as error:
            raise DataError(
                f"{revoked_path}: cannot be read: {error}; expected the list of revoked certificates that"
                " `python -m server pki ensure` writes"
            ) from None

    @staticmethod
    def read_site(pem: bytes) -> Site:
        """Return the owner of a peer's certificate, without checking its role or whether it may join.

        Args:
            pem: the certificate from gRPC, which has verified that the authority issued it.

        Raises:
            RefusedError: it is not a certificate.
        """
        try:
            certificate = x509.load_pem_x509_certificate(pem)
        except certificates.UNREADABLE:
            raise RefusedError(
                "not a valid certificate; expected a site's certificate (`make bundle`)"
            ) from None
        return Site(certificates.name_of(certificate), certificate)

    def identify(self, pem: bytes) -> Site:
        """Return the site that a peer's certificate belongs to.

        Args:
            pem: the certificate from gRPC, which has verified that the authority issued it.

        Raises:
            RefusedError: the certificate is not that of a site, is revoked, or has been outside its dates for
                several seconds.
        """
        site = self.read_site(pem)
        role = certificates.role_of(site.certificate)
        if role != SITE:
            raise RefusedError(
                f"the certificate of {printable(site.name, 80)!r} has role {printable(role, 80) or 'none'!r};"
                " expected a site's certificate (`make bundle`)"
            )
        if problem := self.find_problem(site):
            raise RefusedError(problem)
        return site

    def find_problem(self, site: Site) -> str | None:
        """Return why a site may not stay connected, or None.

        Revocation is a person's decision and takes effect at once. Dates depend on a clock that may be wrong
        for a moment, so a problem with them must persist.
        """
        self._update_revoked()
        if site.serial in self._revoked:
            return f"the certificate of site {site.name} is revoked (serial {site.serial})"
        problem = certificates.find_date_problem(site.certificate, self._now())
        if problem is None:
            self._first_seen.pop(site.serial, None)
            return None
        return f"the certificate of site {site.name}: {problem}" if self._is_confirmed(site.serial) else None

    def _is_confirmed(self, subject: str) -> bool:
        """Return whether a problem has lasted long enough to count."""
        now_s = self._clock()
        return now_s - self._first_seen.setdefault(subject, now_s) >= _CONFIRM_AFTER_S

    def _update_revoked(self) -> None:
        """Read the list again if it has changed; if that fails, known revocations stay in effect."""
        try:
            self._read_revoked()
            self._first_seen.pop(self._path.name, None)
            self._is_unreadable_logged = False
        except (OSError, ValueError) as error:
            self._read_at = None
            if self._is_confirmed(self._path.name) and not self._is_unreadable_logged:
                self._is_unreadable_logged = True
                warn(
                    "cannot read the list of revoked certificates; known revocations stay in effect",
                    file=self._path,
                    cause=error,
                )

    def _read_revoked(self) -> None:
        found = self._path.stat()
        state = (found.st_ino, found.st_mtime_ns)
        if state != self._read_at:
            serials = self._path.read_text().splitlines()
            if wrong := [serial for serial in serials if _SERIAL.fullmatch(serial) is None]:
                raise ValueError(f"{printable(wrong[0], 80)!r} is not a serial number")
            # A list that is being written may lack lines for a moment. Serial numbers are never reused, so a
            # certificate that was revoked stays revoked.
            self._revoked |= frozenset(serials)
            self._read_at = state
