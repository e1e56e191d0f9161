"""The register of an authority: what it issued and revoked, and the list of revocations for the server."""

import builtins
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path

from fedmx.errors import DataError
from fedmx.files import atomic_write, disk_errors
from fedmx.pki.certificates import SERVER, SITE

_EFFECTS = {
    SERVER: "a running server uses the old one until it is restarted",
    SITE: "its clients use the old one until they receive this one and are restarted",
}


@dataclass(frozen=True)
class Issued:
    """A certificate that was issued.

    Attributes:
        serial: hexadecimal.
        role: `server` or `site`.
        name: name of the site, or `server`.
        until: when it expires, ISO 8601.
        is_revoked: whether it was revoked.
        since: when it was issued, ISO 8601; empty if the register does not have it.
        hosts: names and addresses in the server's certificate.
        reason: why it replaced the certificate before; empty for a first one.
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
        return "the server" if self.role == SERVER else f"{self.role} {self.name}"

    def describe(self, folder: Path) -> str:
        """Return a line on what was issued and what it takes effect on.

        Args:
            folder: folder of its files.
        """
        until = datetime.fromisoformat(self.until)
        parts = [f"issued a certificate to {self.owner}, valid until {until:%Y-%m-%d}, in {folder}"]
        if self.reason:
            parts.append(f"reason: {self.reason}")
            parts.append(_EFFECTS[self.role])
        return "; ".join(parts)


class Register:
    """All certificates that an authority issued.

    Args:
        path: the register's file.
        revoked_path: the list of revoked serial numbers, which the server reads.
    """

    def __init__(self, path: Path, revoked_path: Path) -> None:
        self._path = path
        self._revoked_path = revoked_path

    def list(self) -> list[Issued]:
        """Return all certificates that were issued, oldest first.

        Raises:
            DataError: the register cannot be read.
        """
        try:
            entries = json.loads(self._path.read_text())
            return [Issued(**{**entry, "hosts": tuple(entry.get("hosts", ()))}) for entry in entries]
        except FileNotFoundError:
            return []
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise DataError(
                f"{self._path}: cannot be read: {error}; expected the authority's register of certificates"
            ) from None

    def find_newest(self, role: str, name: str) -> Issued | None:
        """Return the newest certificate of a program, or None.

        Raises:
            DataError: the register cannot be read.
        """
        return next((one for one in reversed(self.list()) if (one.role, one.name) == (role, name)), None)

    def add(self, issued: Issued) -> None:
        """Add a certificate."""
        self._write([*self.list(), issued])

    def is_revoked(self, serial: str) -> bool:
        """Return whether a certificate was revoked."""
        return any(one.serial == serial and one.is_revoked for one in self.list())

    def revoke(self, name: str) -> builtins.list[Issued]:
        """Revoke all certificates of a site that are not on the server's list yet.

        Raises:
            DataError: the site has none.
        """
        issued = self.list()
        published = self._read_published()
        revoked = [
            one for one in issued if (one.role, one.name) == (SITE, name) and one.serial not in published
        ]
        if not revoked:
            raise DataError(_describe_unknown_site(name, issued))
        self._write([replace(one, is_revoked=one.is_revoked or one in revoked) for one in issued])
        self.publish_revocations()
        return revoked

    def publish_revocations(self) -> None:
        """Write the list of revoked serial numbers for the server, unless it is up to date."""
        revoked = [one.serial for one in self.list() if one.is_revoked]
        if self._revoked_path.exists() and self._read_published() == revoked:
            return
        with disk_errors(self._revoked_path.parent):
            self._revoked_path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(self._revoked_path, 0o644) as file:
            file.write("".join(f"{serial}\n" for serial in revoked).encode())

    def _read_published(self) -> builtins.list[str]:
        try:
            return self._revoked_path.read_text().split()
        except (OSError, ValueError):
            # The list is missing or damaged, and is about to be written again.
            return []

    def _write(self, issued: Sequence[Issued]) -> None:
        with atomic_write(self._path, 0o644) as file:
            file.write(json.dumps([asdict(one) for one in issued], indent=2).encode())


def _describe_unknown_site(name: str, issued: Sequence[Issued]) -> str:
    known = sorted({one.name for one in issued if one.role == SITE and not one.is_revoked})
    return (
        f"site {name[:80]!r} has no certificate to revoke; sites with a certificate:"
        f" {', '.join(known) or 'none'}"
    )
