"""Logs every wait of the server: what it waits for, since when, until when, and what happens then."""

import logging
import math
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

from flwr.app import Message

from fedmx.log import event
from fedmx.settings import ServerSettings
from server.engine import Engine
from server.leases import Participant

_REPORT_S = 30.0
_LOOK_S = 1.0


@dataclass(frozen=True)
class Outlook:
    """What a wait is for, as it is at one moment.

    Attributes:
        fields: what the server waits for, for the log.
        until: monotonic seconds at which the wait ends; infinity: without limit.
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


class Wait:
    """One wait, logged every 30 s, and at once when a node that it is for leaves.

    Args:
        name: of the event.
        quiet_s: how long the wait lasts before its first line.
        clock: monotonic seconds.
    """

    def __init__(self, name: str, quiet_s: float = 0.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._name = name
        self._clock = clock
        self._since = clock()
        self._due = self._since + quiet_s
        self._gone: set[str] = set()

    def report(self, outlook: Outlook) -> None:
        """Log the wait if a line is due."""
        now = self._clock()
        known, self._gone = self._gone, set(outlook.gone)
        if now < self._due and self._gone <= known:
            return
        self._due = now + _REPORT_S
        is_limited = outlook.until < math.inf
        fields = {
            **outlook.fields,
            "gone": sorted(outlook.gone) or None,
            "since": _clock_at(self._since, now),
            "until": _clock_at(max(outlook.until, now), now) if is_limited else "without limit",
            "remaining_s": max(0, round(outlook.until - now)) if is_limited else None,
            "limit": outlook.limit,
            "then": outlook.then if is_limited else None,
            "hint": outlook.hint,
        }
        event(self._name, logging.INFO, **fields)

    @contextmanager
    def reported(self, look: Callable[[], Outlook]) -> Iterator[None]:
        """Log the wait from another thread while the body of the `with` blocks this one."""
        is_over = threading.Event()

        def report() -> None:
            while not is_over.wait(_LOOK_S):
                self.report(look())

        reporter = threading.Thread(target=report, name="waiting", daemon=True)
        reporter.start()
        try:
            yield
        finally:
            is_over.set()
            reporter.join()


@dataclass(frozen=True)
class Question:
    """What the nodes are asked in a step.

    Attributes:
        round: its number; 0 before round 1.
        step: `query`, `train` or `evaluate`.
        then: what happens when nodes have not answered in time.
    """

    round: int
    step: str
    then: str


def ask(
    engine: Engine,
    messages: Collection[Message],
    asked: Mapping[int, Participant],
    question: Question,
    settings: ServerSettings,
) -> Iterable[Message]:
    """Send messages and wait for their replies, at most ROUND_TIMEOUT.

    Args:
        engine: reaches the nodes.
        messages: one for each node.
        asked: the nodes by id.
        question: what they are asked.
        settings: the server's.
    """
    replies = _Awaited(
        engine, asked, question, settings.lease_grace, time.monotonic() + settings.round_timeout
    )
    with Wait("waiting for replies", quiet_s=_REPORT_S).reported(replies.look):
        return engine.send_and_receive(messages, timeout=settings.round_timeout)


@dataclass(frozen=True)
class _Awaited:
    """The replies to a question, while the server waits for them."""

    engine: Engine
    asked: Mapping[int, Participant]
    question: Question
    lease_grace_s: float
    deadline: float

    def look(self) -> Outlook:
        """Return which nodes have not answered, and how long the server waits for them."""
        ends = self._list_ends()
        until = max((end for end, _ in ends.values()), default=self.deadline)
        return Outlook(
            {
                "round": self.question.round or None,
                "step": self.question.step,
                "answered": self.engine.count_answered(),
                "awaited": sorted(ends),
            },
            until=until,
            limit="ROUND_TIMEOUT" if until == self.deadline else "LEASE_GRACE",
            then=self.question.then,
            gone=[name for name, (_, is_present) in ends.items() if not is_present],
        )

    def _list_ends(self) -> dict[str, tuple[float, bool]]:
        """Return until when the server waits for each node, and whether the node is present."""
        names = {node_id: who.name for node_id, who in self.asked.items()}
        unanswered = self.engine.list_unanswered()
        if unanswered is None:
            return dict.fromkeys(names.values(), (self.deadline, True))
        gone = {view.node_id: view.since for view in self.engine.roster.nodes() if not view.is_present}
        ends = {}
        for node_id in unanswered:
            grace_ends = gone[node_id] + self.lease_grace_s if node_id in gone else math.inf
            ends[names[node_id]] = (min(self.deadline, grace_ends), node_id not in gone)
        return ends


def _clock_at(moment: float, now: float) -> str:
    clock = datetime.now().astimezone() + timedelta(seconds=moment - now)
    return clock.isoformat(timespec="seconds")
