"""Names in the server's certificate: one that was given once is kept until it is removed on purpose."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from fedmx.errors import SettingsError

# The first is the service's name in compose.
ALWAYS_NAMED = ("server", "localhost", "127.0.0.1", "::1")
_REMOVAL = "-"


@dataclass(frozen=True)
class ServerNames:
    """The names that the server's certificate has, and those that it should have.

    Attributes:
        current: what it has now; empty where there is none.
        wanted: what it should have, in the order in which they were given.
        unknown: what SERVER_NAMES removes although the certificate does not have it.
    """

    current: Sequence[str]
    wanted: Sequence[str]
    unknown: Sequence[str]

    def describe_change(self) -> str | None:
        """Return which names a new certificate adds and removes, or None where it changes none."""
        added = [name for name in self.wanted if name not in self.current]
        removed = [name for name in self.current if name not in self.wanted]
        parts = [
            f"names {verb} ({', '.join(names)})"
            for verb, names in (("added", added), ("removed", removed))
            if names
        ]
        return ", ".join(parts) or None


def choose(given: Sequence[str], kept: Iterable[str], current: Sequence[str]) -> ServerNames:
    """Choose the names of the next certificate.

    Args:
        given: SERVER_NAMES: names to add, and names to remove with a minus sign in front.
        kept: what earlier commands gave.
        current: what the certificate has now.

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
    known = tuple(dict.fromkeys([*ALWAYS_NAMED, *kept]))
    left = [name for name in known if name not in removed]
    return ServerNames(
        current=current,
        wanted=tuple(dict.fromkeys([*left, *added])),
        unknown=[name for name in removed if name not in known],
    )
