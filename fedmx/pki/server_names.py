"""Names in the server's certificate: once added, a name stays until it is removed explicitly."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from fedmx.errors import SettingsError

# The first is the name of the service in the compose file.
ALWAYS_NAMED = ("server", "localhost", "127.0.0.1", "::1")
_REMOVAL = "-"


@dataclass(frozen=True)
class ServerNames:
    """The names that the server's certificate has, and those that it should have.

    Attributes:
        current: the names that it has now; empty if there is no certificate.
        wanted: the names that it should have, in the order in which they were added.
        unknown: the names that SERVER_NAMES removes but the certificate does not have.
    """

    current: Sequence[str]
    wanted: Sequence[str]
    unknown: Sequence[str]

    def describe_change(self) -> str | None:
        """Return which names a new certificate adds and removes, or None if it changes none."""
        added = [name for name in self.wanted if name not in self.current]
        removed = [name for name in self.current if name not in self.wanted]
        parts = []
        if added:
            parts.append(f"names added ({', '.join(added)})")
        if removed:
            parts.append(f"names removed ({', '.join(removed)})")
        return ", ".join(parts) or None

    def describe_unknown(self) -> list[str]:
        """Return a warning for each name that is unknown."""
        known = ", ".join(self.current) or "none yet"
        return [
            f"SERVER_NAMES=-{name}: not a name in the server's certificate, which has {known}"
            for name in self.unknown
        ]


def choose(given: Sequence[str], registered: Iterable[str], current: Sequence[str]) -> ServerNames:
    """Choose the names of the next certificate.

    Args:
        given: SERVER_NAMES: names to add, and names to remove with a leading minus sign.
        registered: the names that earlier commands added.
        current: the names that the certificate has now.

    Raises:
        SettingsError: a name cannot be removed.
    """
    removed = [name.removeprefix(_REMOVAL) for name in given if name.startswith(_REMOVAL)]
    added = [name for name in given if not name.startswith(_REMOVAL)]
    if fixed := [name for name in removed if name in ALWAYS_NAMED]:
        raise SettingsError(
            f"SERVER_NAMES=-{fixed[0]}: the server's certificate always has this name; expected a name that"
            " SERVER_NAMES added"
        )
    known = tuple(dict.fromkeys([*ALWAYS_NAMED, *registered]))
    left = [name for name in known if name not in removed]
    return ServerNames(
        current=current,
        wanted=tuple(dict.fromkeys([*left, *added])),
        unknown=[name for name in removed if name not in known],
    )
