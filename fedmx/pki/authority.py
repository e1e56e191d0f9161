"""A federation's authority: issues certificates for its server and its sites, and revokes them.

One folder contains everything, in parts that hold no more than their readers need:

    authority/    the authority's key and certificate, the register of what it issued, and its event log
    server/       the server's files, and the serial numbers that are revoked
    sites/NAME/   a site's files; without a key if the site keeps its own
"""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec

from fedmx.deployment_settings import PkiSettings
from fedmx.errors import DataError
from fedmx.event_log import EventLog
from fedmx.files import disk_errors
from fedmx.pki import certificates, credentials, csr, server_names, signing
from fedmx.pki.certificates import AUTHORITY_FILE, REVOKED_FILE, SERVER, SITE
from fedmx.pki.register import Issued, Register
from fedmx.pki.root import Root
from fedmx.pki.server_names import ServerNames
from fedmx.pki.signing import Subject, Validity

# The site of the clients on the server's own machine.
LOCAL_SITE = "local"


class Authority:
    """The authority of a folder, open for one command.

    Args:
        settings: its folder, lifetimes, and the server's names.
        now: the time in UTC; the current time if None.
    """

    def __init__(self, settings: PkiSettings, now: datetime | None = None) -> None:
        self.folder = settings.pki_dir
        self.settings = settings
        self._now = now or datetime.now(UTC)
        self._own_folder = self.folder / "authority"
        self._events = EventLog(self.events_folder(settings))
        self._root = Root(self._own_folder)
        self._register = Register(self._own_folder / "issued.json", self.folder_of(SERVER) / REVOKED_FILE)

    @staticmethod
    def events_folder(settings: PkiSettings) -> Path:
        """Return the folder of the authority's event log, which no other program may write."""
        return settings.pki_dir / "authority"

    @property
    def exists(self) -> bool:
        """Whether there is an authority."""
        return self._root.exists

    def folder_of(self, role: str, name: str = "") -> Path:
        """Return the folder of a program's files."""
        return self.folder / SERVER if role == SERVER else self.folder / "sites" / name

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the folder, waiting for other commands that change it."""
        with disk_errors(self._own_folder):
            self._own_folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            file = (self._own_folder / ".lock").open("a")
        with file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def create(self) -> None:
        """Create the authority's key and certificate.

        Raises:
            DataError: an authority exists or existed, or the disk cannot be written.
        """
        if self.exists or self.list():
            found = "an authority exists already" if self.exists else f"{AUTHORITY_FILE} is missing"
            raise DataError(
                f"{self._own_folder}: {found}; expected no authority (a new one invalidates every certificate"
                " of the old one)"
            )
        self._root.create(Validity(self._now, self.settings.authority_days))
        self._events.note("authority created")

    def issue_server(self) -> Issued:
        """Issue the server's key and certificate, for the names that it has and those in SERVER_NAMES."""
        issued = self._issue(Subject(SERVER, SERVER, self.find_names().wanted), signing.generate_key())
        self._register.publish_revocations()
        return issued

    def issue_site(self, name: str, key: ec.EllipticCurvePrivateKey | None = None) -> Issued:
        """Issue a site's certificate, and its key.

        Args:
            name: name of the site.
            key: the key that it has already; None for a new one.

        Raises:
            DataError: the site keeps its own key.
            SettingsError: the name is not valid for a site.
        """
        csr.check_site_name(name)
        if self.keeps_own_key(name) and not self.is_revoked(name):
            raise DataError(
                f"site {name}: it keeps its own key; expected its request, or its certificate revoked:"
                f" `python -m server pki revoke {name}`"
            )
        return self._issue(Subject(SITE, name), key or signing.generate_key())

    def sign(self, request: bytes, expected: str) -> Issued:
        """Issue the certificate of a site that keeps its own key.

        Args:
            request: the file that `python -m client pki request` wrote, PEM.
            expected: the site that it must come from.

        Raises:
            DataError: it is not a valid request, or comes from another site, or from a site with another
                key.
            SettingsError: its name is not valid for a site.
        """
        key = csr.read_for(expected, request)
        if expected == LOCAL_SITE:
            raise DataError(
                f"the request: from site {expected}, which belongs to the clients on the server's machine and"
                " needs no request; expected another name"
            )
        if self._has_other_key(expected, key):
            raise DataError(
                f"the request: from site {expected}, which has a certificate for another key; expected the"
                f" same key, or that certificate revoked: `python -m server pki revoke {expected}`"
            )
        return self._issue(Subject(SITE, expected), key)

    def revoke(self, name: str) -> list[Issued]:
        """Revoke all certificates of a site; a running server disconnects it within seconds.

        Raises:
            DataError: the site has none.
        """
        revoked = self._register.revoke(name)
        for one in revoked:
            self._note("certificate revoked", one)
        return revoked

    def ensure(self) -> list[Issued]:
        """Issue what is missing or no longer valid: the authority, the server's files, the local site's."""
        if not self.exists:
            self.create()
        issued = []
        if self.find_need(SERVER):
            issued.append(self.issue_server())
        if self.find_need(SITE, LOCAL_SITE):
            issued.append(self.issue_site(LOCAL_SITE))
        # An earlier command may have been interrupted between the register and this list.
        self._register.publish_revocations()
        return issued

    def list(self) -> list[Issued]:
        """Return all certificates that were issued, oldest first.

        Raises:
            DataError: the register cannot be read.
        """
        return self._register.list()

    def find_names(self) -> ServerNames:
        """Return the names that the server's certificate has, and those that it should have.

        Raises:
            DataError: the register cannot be read.
            SettingsError: SERVER_NAMES removes a name that cannot be removed.
        """
        newest = self._register.find_newest(SERVER, SERVER)
        registered = newest.hosts if newest else ()
        try:
            current = signing.hosts_in(
                certificates.read_certificate(self.folder_of(SERVER) / "server.crt", "")
            )
        except DataError:
            # The certificate is missing or damaged, but the register has its names.
            current = registered
        return server_names.choose(self.settings.server_names, registered or current, current)

    def is_revoked(self, name: str) -> bool:
        """Return whether a site had certificates and all of them are revoked."""
        newest = self._register.find_newest(SITE, name)
        return newest is not None and newest.is_revoked

    def keeps_own_key(self, name: str) -> bool:
        """Return whether a site has a certificate but its key is not here."""
        folder = self.folder_of(SITE, name)
        return name != LOCAL_SITE and (folder / "site.crt").exists() and not (folder / "site.key").exists()

    def find_need(self, role: str, name: str = "") -> str | None:
        """Return why a program's files must be reissued, or None.

        Raises:
            DataError: no authority exists, or the register cannot be read.
            SettingsError: SERVER_NAMES removes a name that cannot be removed.
        """
        reasons = [self._find_problem(role, name)]
        if role == SERVER:
            reasons.append(self.find_names().describe_change())
        return "; ".join(filter(None, reasons)) or None

    def describe_expiry(self) -> str | None:
        """Return a warning if the authority has expired or expires within RENEW_DAYS days, else None."""
        return self._root.describe_expiry(self.settings.renew_days, self._now)

    def _find_problem(self, role: str, name: str) -> str | None:
        """Return what is wrong with a program's files, or None."""
        folder = self.folder_of(role, name)
        own_certificate = self._root.read_certificate(self._now)
        try:
            authority, certificate = credentials.read_certificates(folder, role, self._now)
            if role == SERVER or not self.keeps_own_key(name):
                certificates.read_key(folder / f"{role}.key", certificate, "expected its key")
        except DataError as error:
            return str(error).partition(";")[0]
        if authority != own_certificate:
            return "its certificate belongs to another authority"
        if certificates.name_of(certificate) != (name or role):
            return "its certificate belongs to another site"
        if self._register.is_revoked(certificates.serial_of(certificate)):
            return "its certificate is revoked"
        if certificates.expires_within(certificate, self.settings.renew_days, self._now):
            return f"its certificate expires within RENEW_DAYS={self.settings.renew_days:g} days"
        return None

    def _has_other_key(self, name: str, key: ec.EllipticCurvePublicKey) -> bool:
        """Return whether a site has a certificate for another key that is not revoked."""
        path = self.folder_of(SITE, name) / "site.crt"
        if not path.exists():
            return False
        certificate = certificates.read_certificate(path, "expected the site's certificate")
        is_revoked = self._register.is_revoked(certificates.serial_of(certificate))
        return not is_revoked and certificate.public_key() != key

    def _issue(self, subject: Subject, key: ec.EllipticCurvePrivateKey | ec.EllipticCurvePublicKey) -> Issued:
        """Issue a certificate and write its files."""
        authority = self._root.read_certificate(self._now)
        public_key = key.public_key() if isinstance(key, ec.EllipticCurvePrivateKey) else key
        validity = Validity(self._now, self.settings.certificate_days)
        certificate = signing.sign(authority, self._root.read_key(authority), public_key, subject, validity)
        is_first = self._register.find_newest(subject.role, subject.name) is None
        issued = Issued(
            serial=certificates.serial_of(certificate),
            role=subject.role,
            name=subject.name,
            until=certificate.not_valid_after_utc.isoformat(),
            since=self._now.isoformat(timespec="seconds"),
            hosts=tuple(subject.hosts),
            reason="" if is_first else self.find_need(subject.role, subject.name) or "requested",
        )
        # The register comes first: a certificate that is not in it could not be revoked.
        self._register.add(issued)
        folder = self.folder_of(subject.role, subject.name)
        credentials.write_credentials(folder, subject.role, key, authority, certificate)
        self._note(
            "certificate issued" if is_first else "certificate renewed",
            issued,
            until=issued.until,
            names=", ".join(issued.hosts) or None,
            reason=issued.reason or None,
        )
        return issued

    def _note(self, event: str, one: Issued, **fields: object) -> None:
        owner: dict[str, object] = {"site": one.name} if one.role == SITE else {"role": one.role}
        self._events.note(event, source="", **owner, serial=one.serial, **fields)
