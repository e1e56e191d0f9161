"""The names and dates in the link's certificates that the status server needs."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fedmx.errors import DataError
from fedmx.pki.certificates import AUTHORITY_FILE, SERVER, read_certificate
from fedmx.pki.signing import hosts_in


@dataclass(frozen=True)
class OwnCertificates:
    """The certificates that the server starts with.

    Attributes:
        names: by which the server is reached, including SERVER_NAMES.
        expiries: when each certificate expires, in seconds since the epoch, by its owner.
    """

    names: Sequence[str] = ()
    expiries: dict[str, float] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path, security: str) -> "OwnCertificates":
        """Read them from CERTS_DIR; none without TLS, or if they are invalid, which the link then reports."""
        if security == "insecure":
            return cls()
        try:
            own = read_certificate(folder / f"{SERVER}.crt", "")
            authority = read_certificate(folder / AUTHORITY_FILE, "")
        except DataError:
            return cls()
        found = {SERVER: own, "authority": authority}
        return cls(
            hosts_in(own),
            {name: each.not_valid_after_utc.timestamp() for name, each in found.items()},
        )
