"""Logs every wait of the server: what it waits for, since when, until when, and what happens then."""

import logging
import math
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from flwr.app import Message

from fedmx.link.quorum import Quorum
from fedmx.listing import shorten
from fedmx.log import event
from server.activity import Activity
from server.engine import Engine
from server.leases import Participant
from server.outlook import Outlook

_REPORT_S = 30.0
_LOOK_S = 1.0
# Replies may have more arrays than they should, so that a task's mistake is reported by array: twice as many
# bytes, which is another dtype, and some more.
_SPARE_BYTES = 1_048_576


class Wait:
    """One wait, logged every 30 s, and at once when a node that it is for leaves.

    Args:
        name: of the event.
        activity: is notified of what the server waits for.
        quiet_s: how long the wait lasts before its first line.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        name: str,
        activity: Activity,
        quiet_s: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._name = name
        self._activity = activity
        self._clock = clock
        self._since = clock()
        self._due = self._since + quiet_s
        self._gone: set[str] = set()

    def report(self, outlook: Outlook) -> None:
        """Record what the wait is for, and log it if a line is due."""
        self._activity.wait_for(outlook)
        now = self._clock()
        known, self._gone = self._gone, set(outlook.gone)
        if now < self._due and self._gone <= known:
            return
        self._due = now + _REPORT_S
        is_limited = outlook.is_limited
        fields = {
            **{name: _bound(value) for name, value in outlook.fields.items()},
            "gone": shorten(sorted(outlook.gone)) or None,
            "since": _clock_at(self._since, now),
            "until": _clock_at(max(outlook.until, now), now) if is_limited else "without limit",
            "remaining_s": max(0, round(outlook.until - now)) if is_limited else None,
            "limit": outlook.limit,
            "then": outlook.then if is_limited else None,
            "hint": outlook.hint,
        }
        event(self._name, logging.INFO, **fields)

    def watch(self, look: Callable[[], Outlook]) -> Callable[[], float]:
        """Return a function that reports the wait once a second, if it is called as often as it asks for.

        Args:
            look: returns what the wait is for.

        Returns:
            It returns the seconds until it is to be called again.
        """
        due = self._clock() + _LOOK_S

        def report() -> float:
            nonlocal due
            now = self._clock()
            if now >= due:
                due = now + _LOOK_S
                self.report(look())
            return due - now

        return report


@dataclass(frozen=True)
class Question:
    """What the nodes are asked in a step.

    Attributes:
        round: its number; 0 before round 1.
        step: `query`, `train` or `evaluate`.
        then: what happens when nodes have not answered in time.
        timeout_s: how long each node has (ROUND_TIMEOUT).
        lease_grace_s: how long the server waits for a node that is gone (LEASE_GRACE).
        quorum: how many replies are enough (QUORUM); None: all.
        array_bytes: bytes of the arrays of a reply, or more; infinity if they are not known.
    """

    round: int
    step: str
    then: str
    timeout_s: float
    lease_grace_s: float
    quorum: Quorum | None = None
    array_bytes: float = math.inf


def ask(
    engine: Engine,
    messages: Collection[Message],
    asked: Mapping[int, Participant],
    question: Question,
    activity: Activity,
) -> Iterable[Message]:
    """Send messages and wait for their replies.

    Args:
        engine: reaches the nodes.
        messages: one for each node.
        asked: the nodes by id.
        question: what they are asked.
        activity: is notified of the replies that are missing.
    """
    activity.begin(question.step, question.round)
    replies = _Awaited(engine, asked, question, time.monotonic() + question.timeout_s)
    watch = Wait("waiting for replies", activity, quiet_s=_REPORT_S).watch(replies.look)
    return engine.send_and_receive(
        messages,
        timeout=question.timeout_s,
        quorum=question.quorum,
        most_reply_bytes=2 * question.array_bytes + _SPARE_BYTES,
        watch=watch,
    )


@dataclass(frozen=True)
class _End:
    """Until when the server waits for a node.

    Attributes:
        until: monotonic seconds.
        limit: the setting that ends the wait.
        is_present: whether the node is connected.
    """

    until: float
    limit: str
    is_present: bool = True


@dataclass(frozen=True)
class _Awaited:
    """The replies to a question, while the server waits for them.

    Attributes:
        engine: knows which are missing.
        asked: the nodes by id.
        question: what they are asked.
        deadline: monotonic seconds at which ROUND_TIMEOUT is over, before the engine knows better.
    """

    engine: Engine
    asked: Mapping[int, Participant]
    question: Question
    deadline: float

    def look(self) -> Outlook:
        """Return which nodes have not answered, and how long the server waits for them."""
        ends = self._list_ends()
        then = self.question.then
        last = max(ends.values(), key=lambda end: end.until, default=_End(self.deadline, "ROUND_TIMEOUT"))
        grace_ends = self.engine.grace_ends
        if ends and grace_ends < last.until:
            last = _End(grace_ends, "QUORUM_GRACE")
            then = "the step goes on without these nodes"
        return Outlook(
            {
                "round": self.question.round or None,
                "step": self.question.step,
                "answered": self.engine.count_answered(),
                "awaited": sorted(ends),
                "transfers": self.engine.travelling or None,
            },
            until=last.until,
            limit=last.limit,
            then=then,
            gone=[name for name, end in ends.items() if not end.is_present],
        )

    def _list_ends(self) -> dict[str, _End]:
        """Return until when the server waits for each node that has not answered."""
        gone = {view.node_id: view.since for view in self.engine.roster.nodes() if not view.is_present}
        ends = {}
        for node_id, deadline in self.engine.deadlines.items():
            end = _End(deadline, "ROUND_TIMEOUT", node_id not in gone)
            if node_id in gone and (grace_ends := gone[node_id] + self.question.lease_grace_s) < deadline:
                end = _End(grace_ends, "LEASE_GRACE", is_present=False)
            ends[self.asked[node_id].name] = end
        return ends


def _bound(value: object) -> object:
    """Return a field of the log; a list of nodes may have a thousand names."""
    return shorten(value) if isinstance(value, list) else value


def _clock_at(moment: float, now: float) -> str:
    clock = datetime.now().astimezone() + timedelta(seconds=moment - now)
    return clock.isoformat(timespec="seconds")
