"""What an authority has issued and revoked: on record, and as the server is notified."""

import builtins
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path

from fedmx.errors import DataError
from fedmx.files import atomic_write, disk_errors
from fedmx.pki.credentials import SERVER, SITE

_EFFECTS = {
    SERVER: "a running server uses the old one until it is restarted",
    SITE: "its clients use the old one until they get this one and are restarted",
}


@dataclass(frozen=True)
class Issued:
    """A certificate that was issued.

    Attributes:
        serial: hexadecimal.
        role: `server` or `site`.
        name: of the site, or `server`.
        until: the end of its validity, ISO 8601.
        is_revoked: whether it was revoked.
        since: when it was issued, ISO 8601; empty where the record does not have it.
        hosts: names and addresses in the server's certificate.
        reason: why it replaced the one before; empty for a first one.
    """

    serial: str
    role: str
    name: str
    until: str
    is_revoked: bool = False
    since: str = ""
    hosts: tuple[str, ...] = ()
    reason: str = ""

    @property
    def owner(self) -> str:
        """The program that it was issued to, as messages name it."""
        return SERVER if self.role == SERVER else f"{self.role} {self.name}"

    def describe(self, folder: Path) -> str:
        """Return a line that says what was issued, and what follows from it.

        Args:
            folder: where its files are.
        """
        until = datetime.fromisoformat(self.until)
        parts = [f"issued the certificate of {self.owner}, valid until {until:%Y-%m-%d}, in {folder}"]
        if self.reason:
            parts.append(f"reason: {self.reason}")
            parts.append(_EFFECTS[self.role])
        return "; ".join(parts)


class Record:
    """All that an authority issued.

    Args:
        path: of the record.
        told: of the list of revoked serial numbers that a server reads.
    """

    def __init__(self, path: Path, told: Path) -> None:
        self._path = path
        self._told = told

    def list(self) -> list[Issued]:
        """Return all that was issued, oldest first.

        Raises:
            DataError: the record cannot be read.
        """
        try:
            entries = json.loads(self._path.read_text())
            return [Issued(**{**entry, "hosts": tuple(entry.get("hosts", ()))}) for entry in entries]
        except FileNotFoundError:
            return []
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise DataError(f"{self._path}: cannot be read: {error}; expected what was issued") from None

    def find_newest(self, role: str, name: str) -> Issued | None:
        """Return the certificate that was issued last to a program, or None.

        Raises:
            DataError: the record cannot be read.
        """
        return next((one for one in reversed(self.list()) if (one.role, one.name) == (role, name)), None)

    def add(self, issued: Issued) -> None:
        """Put one on record."""
        self._write([*self.list(), issued])

    def is_revoked(self, serial: str) -> bool:
        """Whether a certificate was taken back."""
        return any(one.serial == serial and one.is_revoked for one in self.list())

    def revoke(self, name: str) -> builtins.list[Issued]:
        """Take back all certificates of a site that the server does not know to be revoked.

        Raises:
            DataError: the site has none.
        """
        issued, told = self.list(), self._read_told()
        taken = [one for one in issued if (one.role, one.name) == (SITE, name) and one.serial not in told]
        if not taken:
            known = sorted({one.name for one in issued if one.role == SITE and not one.is_revoked})
            raise DataError(
                f"site {name[:80]!r} has no certificate that could be revoked; those that have:"
                f" {', '.join(known) or 'none'}"
            )
        self._write([replace(one, is_revoked=one.is_revoked or one in taken) for one in issued])
        self.tell()
        return taken

    def tell(self) -> None:
        """Write for the server which serial numbers are revoked, unless that is what it has."""
        revoked = [one.serial for one in self.list() if one.is_revoked]
        if self._told.exists() and self._read_told() == revoked:
            return
        with disk_errors(self._told.parent):
            self._told.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(self._told, 0o644) as file:
            file.write("".join(f"{serial}\n" for serial in revoked).encode())

    def _read_told(self) -> builtins.list[str]:
        try:
            return self._told.read_text().split()
        except (OSError, ValueError):  # missing or damaged: it is written anew
            return []

    def _write(self, issued: Sequence[Issued]) -> None:
        with atomic_write(self._path, 0o644) as file:
            file.write(json.dumps([asdict(one) for one in issued], indent=2).encode())
