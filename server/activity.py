"""What the server does at the moment, written by the run and read by reporters on other threads."""

import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from server.outlook import Outlook


@dataclass(frozen=True)
class Doing:
    """What the server does at one moment.

    Attributes:
        name: `waiting for nodes`, `query`, `train`, `aggregate`, `evaluate`, `checkpoint` or `idle`.
        round: the number of the round; 0 before round 1.
        since: when it began, in seconds since the epoch.
        wait: what the server waits for; None if it does not wait, or has just begun to.
    """

    name: str
    round: int
    since: float
    wait: Outlook | None = None

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "name": self.name,
            "round": self.round,
            "since": _as_text(self.since),
            "waiting": None if self.wait is None else self.wait.to_json(),
        }


class Activity:
    """Remembers what the server does. One thread writes; any thread may read."""

    def __init__(self) -> None:
        self._doing = Doing("idle", 0, time.time())

    def begin(self, name: str, number: int = 0) -> None:
        """Record that the server begins something.

        Args:
            name: one of the names of `Doing`.
            number: the round.
        """
        self._doing = Doing(name, number, time.time())

    def wait_for(self, outlook: Outlook) -> None:
        """Record what the server waits for."""
        self._doing = replace(self._doing, wait=outlook)

    def look(self) -> Doing:
        """Return what the server does now."""
        return self._doing


def _as_text(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="milliseconds")
