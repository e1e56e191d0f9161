"""What the server waits for at one moment, until when, and what happens then."""

import math
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any


@dataclass(frozen=True)
class Outlook:
    """What the server waits for at one moment.

    Attributes:
        fields: what the server waits for, for the log.
        until: monotonic seconds at which the wait ends; infinity if it has no limit.
        limit: the setting that ends it.
        then: what happens at its end.
        hint: what a person can do.
        gone: nodes that the server waits for although their streams are gone.
    """

    fields: Mapping[str, object]
    until: float
    limit: str
    then: str
    hint: str | None = None
    gone: Collection[str] = ()

    @property
    def is_limited(self) -> bool:
        """Whether the wait has a limit."""
        return self.until < math.inf

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values, with the date and time at which the wait ends."""
        until = None
        if self.is_limited:
            moment = datetime.now(UTC) + timedelta(seconds=self.until - time.monotonic())
            until = moment.isoformat(timespec="seconds")
        return {
            "fields": {name: value for name, value in self.fields.items() if value is not None},
            "until": until,
            "limit": self.limit,
            "then": self.then if self.is_limited else None,
            "hint": self.hint,
            "gone": sorted(self.gone),
        }
