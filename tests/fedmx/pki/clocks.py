"""The clocks of a server that checks certificates."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from fedmx.pki.access import PeerVerifier
from fedmx.pki.authority import Authority
from tests.fedmx.pki.papers import credentials_of


@dataclass
class Clocks:
    """A wall clock and a monotonic clock that the test sets.

    Attributes:
        ahead: how far the wall clock is ahead.
        passed_s: seconds on the monotonic clock.
        checks: how often the wall clock was read.
    """

    ahead: timedelta = field(default_factory=timedelta)
    passed_s: float = 0.0
    checks: int = 0

    def now(self) -> datetime:
        self.checks += 1
        return datetime.now(UTC) + self.ahead

    def verifier(self, authority: Authority) -> PeerVerifier:
        revoked = authority.folder / "server" / "revoked.txt"
        return PeerVerifier(credentials_of(authority), revoked, self.now, lambda: self.passed_s)
