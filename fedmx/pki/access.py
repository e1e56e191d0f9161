"""Who may join: sites whose certificates are of this federation, in date and not revoked."""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509

from fedmx.errors import DataError, RefusedError
from fedmx.log import printable, warn
from fedmx.pki import credentials
from fedmx.pki.credentials import SITE, Credentials

_SERIAL = re.compile("[0-9a-f]{1,40}")
# A clock that is wrong, or a file that is half written, may be right again a moment later. Together with the
# time between two looks of the server this stays below the 10 s of SECURITY.md.
_SECOND_LOOK_S = 5.0


@dataclass(frozen=True)
class Site:
    """Whoever is at the other end of a stream, as its certificate says; that is of the authority by then."""

    name: str
    certificate: x509.Certificate

    @property
    def serial(self) -> str:
        """The certificate's serial number, hexadecimal."""
        return credentials.serial_of(self.certificate)

    def name_node(self, instance: str) -> str:
        """Give the name of one of its nodes; no other site's node can have it."""
        prefix = f"{self.name}."
        return instance if instance.startswith(prefix) else prefix + instance


def _now() -> datetime:
    return datetime.now(UTC)


class Gate:
    """Checks certificates against the authority, their dates, and the list of those that are revoked.

    Args:
        own: the server's credentials.
        revoked: the file with the list; it is read again whenever it has changed.
        now: the wall clock, which certificates go by.
        clock: monotonic seconds.

    Raises:
        DataError: the list cannot be read.
    """

    def __init__(
        self,
        own: Credentials,
        revoked: Path,
        now: Callable[[], datetime] = _now,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.own = own
        self._path = revoked
        self._now = now
        self._clock = clock
        self._read_at: tuple[int, int] | None = None
        self._is_unreadable_logged = False
        self._revoked: frozenset[str] = frozenset()
        self._doubts: dict[str, float] = {}  # what looked wrong, and since when
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
            RefusedError: it is of another role than a site's, revoked, or not in date for a while.
        """
        try:
            certificate = x509.load_pem_x509_certificate(pem)
        except credentials.UNREADABLE:
            raise RefusedError("no certificate that can be read; expected a site's (`make bundle`)") from None
        site = Site(credentials.name_of(certificate), certificate)
        if (role := credentials.role_of(certificate)) != SITE:
            raise RefusedError(
                f"the certificate of {printable(site.name, 80)!r} has role {printable(role, 80) or 'none'!r};"
                " expected a site's (`make bundle`)"
            )
        if fault := self.find_fault(site):
            raise RefusedError(fault)
        return site

    def find_fault(self, site: Site) -> str | None:
        """Return why a site may not take part any more, or None.

        Revocation is a person's decision and counts at once. Dates go by a clock that may be wrong for a
        moment, so they count at the second look.
        """
        self._look_at_revoked()
        if site.serial in self._revoked:
            return f"the certificate of site {site.name} is revoked (serial {site.serial})"
        fault = credentials.find_fault_of_dates(site.certificate, self._now())
        if fault is None:
            self._doubts.pop(site.serial, None)
            return None
        return f"the certificate of site {site.name}: {fault}" if self._is_lasting(site.serial) else None

    def _is_lasting(self, doubt: str) -> bool:
        """Return whether this is at least the second look at what is wrong."""
        return self._clock() - self._doubts.setdefault(doubt, self._clock()) >= _SECOND_LOOK_S

    def _look_at_revoked(self) -> None:
        """Read the list again if it has changed; one that cannot be read takes nothing back."""
        try:
            self._read_revoked()
            self._doubts.pop(self._path.name, None)
            self._is_unreadable_logged = False
        except (OSError, ValueError) as error:
            self._read_at = None
            if self._is_lasting(self._path.name) and not self._is_unreadable_logged:
                self._is_unreadable_logged = True
                warn("cannot read who is revoked, going by what was", file=self._path, cause=error)

    def _read_revoked(self) -> None:
        found = self._path.stat()
        state = (found.st_ino, found.st_mtime_ns)
        if state != self._read_at:
            serials = self._path.read_text().splitlines()
            if wrong := [serial for serial in serials if _SERIAL.fullmatch(serial) is None]:
                raise ValueError(f"{printable(wrong[0], 80)!r} is no serial number")
            # A list that is being written may lack lines for a moment. Nobody is given a serial number twice,
            # so who was revoked stays revoked.
            self._revoked |= frozenset(serials)
            self._read_at = state
