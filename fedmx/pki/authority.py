"""A federation's authority: issues certificates for its server and its sites, and revokes them.

A folder holds all of it, and each part of that has no more than whoever needs it may see:

    authority/    the authority's key and certificate, and what it has issued
    server/       what the server needs, and the serial numbers that are revoked
    sites/NAME/   what a site needs; no key where the site made its own
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from fedmx.errors import DataError
from fedmx.files import atomic_write, disk_errors
from fedmx.pki import credentials, csr, server_names, signing
from fedmx.pki.credentials import AUTHORITY_FILE, REVOKED_FILE, SERVER, SITE
from fedmx.pki.register import Issued, Record
from fedmx.pki.server_names import ServerNames
from fedmx.pki.signing import Subject, Validity
from fedmx.settings import PkiSettings

LOCAL_SITE = "local"  # the clients on the server's own machine

_SECRET, _PUBLIC = 0o600, 0o644


class Authority:
    """The authority of a folder, open for one command.

    Args:
        settings: its folder, lifetimes, and the server's names.
        now: in place of the time, which is UTC.
    """

    def __init__(self, settings: PkiSettings, now: datetime | None = None) -> None:
        self.folder = settings.pki_dir
        self._settings = settings
        self._now = now or datetime.now(UTC)
        self._own = self.folder / "authority"
        self._record = Record(self._own / "issued.json", self.folder_of(SERVER) / REVOKED_FILE)

    @property
    def exists(self) -> bool:
        """Whether there is an authority."""
        return (self._own / AUTHORITY_FILE).exists()

    def folder_of(self, role: str, name: str = "") -> Path:
        """Return where a program's own files are."""
        return self.folder / SERVER if role == SERVER else self.folder / "sites" / name

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Let no other command change the folder meanwhile."""
        with disk_errors(self._own):
            self._own.mkdir(parents=True, exist_ok=True, mode=0o700)
            file = (self._own / ".lock").open("a")
        with file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def make(self) -> None:
        """Make the authority's key and certificate.

        Raises:
            DataError: there is an authority already, or there was, or the disk does not take it.
        """
        if self.exists or self.list():
            found = "an authority is there already" if self.exists else f"{AUTHORITY_FILE} is gone"
            raise DataError(
                f"{self._own}: {found}; expected no authority so far (a new one makes all certificates of the"
                " old one worthless)"
            )
        key = signing.make_key()
        validity = Validity(self._now, self._settings.authority_days)
        certificate = signing.sign_itself(key, f"fedmx authority {os.urandom(4).hex()}", validity)
        _write(self._own / "authority.key", signing.pem_of_key(key), _SECRET)
        _write(self._own / AUTHORITY_FILE, certificate.public_bytes(Encoding.PEM))

    def issue_server(self) -> Issued:
        """Issue the server's key and certificate, for the names of SERVER_NAMES and those that it has."""
        issued = self._issue(Subject(SERVER, SERVER, self.find_names().wanted), signing.make_key())
        self._record.tell()
        return issued

    def issue_site(self, name: str) -> Issued:
        """Issue a site's key and certificate.

        Raises:
            DataError: the site keeps its own key.
            SettingsError: the name may not be a site's.
        """
        csr.check_site_name(name)
        if self.keeps_own_key(name) and not self.is_revoked(name):
            raise DataError(
                f"site {name}: it keeps its own key; expected its request, or its certificate revoked:"
                f" `python -m server pki revoke {name}`"
            )
        return self._issue(Subject(SITE, name), signing.make_key())

    def sign(self, request: bytes, expected: str) -> Issued:
        """Issue the certificate of a site that keeps its own key.

        Args:
            request: what `python -m client pki request` wrote, PEM.
            expected: the site that it has to come from.

        Raises:
            DataError: it is not a request, was altered, or comes from another site, or from one that has
                another key.
            SettingsError: its name may not be a site's.
        """
        key = csr.read_for(expected, request)
        if expected == LOCAL_SITE:
            raise DataError(
                f"the request: from site {expected}, the clients on the server's machine, which need none;"
                " expected another name"
            )
        if self._has_other_key(expected, key):
            raise DataError(
                f"the request: from site {expected}, which has a certificate of another key; expected the"
                f" same key, or that certificate revoked: `python -m server pki revoke {expected}`"
            )
        return self._issue(Subject(SITE, expected), key)

    def _has_other_key(self, name: str, key: ec.EllipticCurvePublicKey) -> bool:
        """Whether a site has a certificate of another key that still holds."""
        path = self.folder_of(SITE, name) / "site.crt"
        if not path.exists():
            return False
        certificate = credentials.read_certificate(path, "expected the site's own")
        is_held = not self._record.is_revoked(credentials.serial_of(certificate))
        return is_held and certificate.public_key() != key

    def revoke(self, name: str) -> list[Issued]:
        """Revoke all certificates of a site; a running server drops it within seconds.

        Raises:
            DataError: no site of this name has one.
        """
        return self._record.revoke(name)

    def ensure(self) -> list[Issued]:
        """Issue what is missing or no longer valid: the authority, the server's files, the local site's."""
        if not self.exists:
            self.make()
        made = []
        if self.find_need(SERVER):
            made.append(self.issue_server())
        if self.find_need(SITE, LOCAL_SITE):
            made.append(self.issue_site(LOCAL_SITE))
        self._record.tell()  # of a command that was cut short
        return made

    def find_names(self) -> ServerNames:
        """Return the names that the server's certificate has, and those that it should have.

        Raises:
            DataError: the record cannot be read.
            SettingsError: SERVER_NAMES removes a name that cannot be removed.
        """
        newest = self._record.find_newest(SERVER, SERVER)
        kept = newest.hosts if newest else ()
        try:
            path = self.folder_of(SERVER) / "server.crt"
            current = tuple(sorted(signing.hosts_in(credentials.read_certificate(path, ""))))
        except DataError:
            # Missing or damaged: the names are on record all the same.
            current = kept
        return server_names.choose(self._settings.server_names, kept or current, current)

    def is_revoked(self, name: str) -> bool:
        """Whether a site had certificates and all of them are revoked."""
        newest = self._record.find_newest(SITE, name)
        return newest is not None and newest.is_revoked

    def keeps_own_key(self, name: str) -> bool:
        """Whether a site has a certificate whose key is not here."""
        folder = self.folder_of(SITE, name)
        return name != LOCAL_SITE and (folder / "site.crt").exists() and not (folder / "site.key").exists()

    def find_need(self, role: str, name: str = "") -> str | None:
        """Return why a program's own files must be reissued, or None.

        Raises:
            DataError: there is no authority, or the record cannot be read.
            SettingsError: SERVER_NAMES removes a name that cannot be removed.
        """
        reasons = [self._find_problem(role, name)]
        if role == SERVER:
            reasons.append(self.find_names().describe_change())
        return "; ".join(filter(None, reasons)) or None

    def _find_problem(self, role: str, name: str) -> str | None:
        """Return what is wrong with a program's own files, or None."""
        folder, authority = self.folder_of(role, name), self._read_authority()
        try:
            believed, certificate = credentials.read_certificates(folder, role, self._now)
            if role == SERVER or not self.keeps_own_key(name):
                credentials.read_key(
                    folder / f"{role}.key", certificate, "expected it beside the certificate"
                )
        except DataError as error:
            return str(error).partition(";")[0]
        if believed != authority:
            return "its certificate belongs to another authority"
        if credentials.name_of(certificate) != (name or role):
            return "its certificate belongs to another site"
        if self._record.is_revoked(credentials.serial_of(certificate)):
            return "its certificate is revoked"
        if (certificate.not_valid_after_utc - self._now) / timedelta(days=1) < self._settings.renew_days:
            return f"its certificate expires within RENEW_DAYS={self._settings.renew_days:g} days"
        return None

    def list(self) -> list[Issued]:
        """Return all that was issued, oldest first.

        Raises:
            DataError: the record cannot be read.
        """
        return self._record.list()

    def _issue(self, subject: Subject, key: ec.EllipticCurvePrivateKey | ec.EllipticCurvePublicKey) -> Issued:
        """Write a certificate, the authority's beside it, and its key if that is made here."""
        authority = self._read_authority()
        authority_key = self._read_key(authority)
        public_key = key.public_key() if isinstance(key, ec.EllipticCurvePrivateKey) else key
        validity = Validity(self._now, self._settings.certificate_days)
        certificate = signing.sign(authority, authority_key, public_key, subject, validity)
        issued = Issued(
            serial=credentials.serial_of(certificate),
            role=subject.role,
            name=subject.name,
            until=certificate.not_valid_after_utc.isoformat(),
            since=self._now.isoformat(timespec="seconds"),
            hosts=tuple(subject.hosts),
            reason=self._find_reason(subject.role, subject.name),
        )
        # First: what is not on record could not be revoked.
        self._record.add(issued)
        folder = self.folder_of(subject.role, subject.name)
        with disk_errors(folder):
            folder.mkdir(parents=True, exist_ok=True, mode=0o755)
        # The key before the certificate, which without one is of a site that keeps its own.
        key_path = folder / f"{subject.role}.key"
        if isinstance(key, ec.EllipticCurvePrivateKey):
            _write(key_path, signing.pem_of_key(key), _SECRET)
        else:
            key_path.unlink(missing_ok=True)
        _write(folder / AUTHORITY_FILE, authority.public_bytes(Encoding.PEM))
        _write(folder / f"{subject.role}.crt", certificate.public_bytes(Encoding.PEM))
        return issued

    def _find_reason(self, role: str, name: str) -> str:
        """Return why the newest certificate of a program is replaced; empty where it has none."""
        if self._record.find_newest(role, name) is None:
            return ""
        return self.find_need(role, name) or "requested"

    def _read_authority(self) -> x509.Certificate:
        if not self.exists:
            raise DataError(f"{self._own}: no authority; expected one: `python -m server pki init`")
        path = self._own / AUTHORITY_FILE
        authority = credentials.read_certificate(path, "expected the authority's own")
        if fault := credentials.find_fault_of_dates(authority, self._now):
            raise DataError(f"{path}: {fault}; expected an authority that is in date")
        return authority

    def _read_key(self, authority: x509.Certificate) -> ec.EllipticCurvePrivateKey:
        path = self._own / "authority.key"
        _, key = credentials.read_key(path, authority, "expected the authority's key")
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise DataError(f"{path}: of another kind; expected a key on an elliptic curve")
        return key


def _write(path: Path, data: bytes, mode: int = _PUBLIC) -> None:
    with atomic_write(path, mode) as file:
        file.write(data)
