"""Who has joined: names, instances, readiness. Plain rules behind one lock, without sockets.

The streams' thread tells it who comes and goes; the server program's thread reads it and waits on it.
"""

import itertools
import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from flwr.app import ConfigRecord

from fedmx.errors import RefusedError

_MOST_MEMBERS, _FORGOTTEN_AFTER_S = 10_000, 3_600.0
_FIRST_NODE_ID = 2  # 1 is the server


@dataclass(frozen=True)
class NodeView:
    """A node as it was when the roster was looked at."""

    name: str
    node_id: int
    is_present: bool
    description: ConfigRecord | None  # None while it loads its model and data
    since: float  # monotonic seconds, when it said hello or left

    @property
    def is_ready(self) -> bool:
        """Whether it can be sent work."""
        return self.is_present and self.description is not None


@dataclass
class Member:
    """A name in the federation, and the stream through which it is reached, if any."""

    name: str
    node_id: int
    instance: str
    since: float
    stream: Any = None
    description: ConfigRecord | None = None

    def view(self) -> NodeView:
        """Give what the rest of the program may know of it."""
        return NodeView(self.name, self.node_id, self.stream is not None, self.description, self.since)


class Roster:
    """The members of one federation.

    Args:
        find_difference: why a node of the first description cannot work beside one of the second, or None.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        find_difference: Callable[[ConfigRecord, ConfigRecord], str | None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._find_difference = find_difference
        self._clock = clock
        self._members: dict[str, Member] = {}
        self._ids = itertools.count(_FIRST_NODE_ID)
        self._reference: ConfigRecord | None = None
        self._is_pinned = False
        self._origin, self._way_out = "this federation", ""
        self._changed = threading.Condition()
        self._has_news = False  # since `nodes` was asked the last time

    def join(self, name: str, instance: str, stream: Any, *, is_name_given: bool) -> tuple[Member, Any]:
        """Take a node that said hello; give it and the stream that it replaces, if any.

        The same instance comes back under its name. Another instance gets a name whose node is gone, together
        with what was asked of that node; beside a living node of that name it gets a counter, unless the name
        was given.

        Raises:
            RefusedError: the name was given and belongs to a living node.
        """
        with self._changed:
            member = self._find(name, instance, is_name_given=is_name_given)
            replaced = member.stream
            if member.instance != instance:
                member.instance, member.description = instance, None
            member.stream, member.since = stream, self._clock()
            self._tell()
            return member, replaced

    def _find(self, name: str, instance: str, *, is_name_given: bool) -> Member:
        known = next((m for m in self._members.values() if m.instance == instance), None)
        if known is not None:
            return known
        for wanted in itertools.chain([name], (f"{name}-{number}" for number in itertools.count(2))):
            member = self._members.get(wanted)
            if member is None:
                self._forget_oldest()
                member = Member(wanted, next(self._ids), instance, self._clock())
                self._members[wanted] = member
                return member
            if member.stream is None:
                return member
            if is_name_given:
                raise RefusedError(
                    f"node {name}: a living node has this name; expected another NODE_NAME for each client"
                )
        raise AssertionError("the counter never ends")

    def _forget_oldest(self) -> None:
        """Forget the node that is gone for longest, where there are many: names can come without end."""
        if len(self._members) < _MOST_MEMBERS:
            return
        now = self._clock()
        gone = [m for m in self._members.values() if m.stream is None and now - m.since > _FORGOTTEN_AFTER_S]
        if gone:
            del self._members[min(gone, key=lambda member: member.since).name]

    def ready(self, member: Member, description: ConfigRecord) -> None:
        """Mark a node ready for work.

        Raises:
            RefusedError: it differs from the federation.
        """
        with self._changed:
            reference = description if self._reference is None else self._reference
            difference = self._find_difference(description, reference)
            if difference is not None:
                raise RefusedError(
                    f"node {member.name} differs from {self._origin}: {difference}{self._way_out}"
                )
            self._reference = reference
            member.description = description
            self._tell()

    def leave(self, member: Member, stream: Any, *, is_for_good: bool = False) -> bool:
        """Note that a stream ended; tell whether its node is gone by that (it may have come back already).

        Args:
            member: whose stream it was.
            stream: which.
            is_for_good: nobody is to wait for this node.
        """
        with self._changed:
            if member.stream is not stream:
                return False
            member.stream, member.since = None, -math.inf if is_for_good else self._clock()
            if not self._is_pinned and not any(m.view().is_ready for m in self._members.values()):
                self._reference = None  # nobody is left to differ from
            self._tell()
            return True

    def expel(self, node_id: int) -> bool:
        """Have nobody wait for a node that is gone; tell whether somebody might have."""
        with self._changed:
            for member in self._members.values():
                if member.node_id == node_id and member.stream is None and member.since > -math.inf:
                    member.since = -math.inf
                    self._tell()
                    return True
            return False

    def is_gone(self, member: Member, grace_s: float) -> bool:
        """Whether a member's stream has been gone for so long that nothing is awaited of it."""
        with self._changed:
            return member.stream is None and self._clock() - member.since >= grace_s

    def pin(self, description: ConfigRecord, origin: str = "", way_out: str = "") -> None:
        """Fix what later nodes are compared with: the run has started.

        Args:
            description: of the run's nodes.
            origin: whose description it is, for those that are refused; as it was where it is empty.
            way_out: what can be done about it.
        """
        with self._changed:
            self._reference, self._is_pinned = description, True
            if origin:
                self._origin, self._way_out = origin, way_out

    def nodes(self) -> list[NodeView]:
        """Give everyone who ever joined, in order of first joining."""
        with self._changed:
            self._has_news = False
            return [member.view() for member in self._members.values()]

    def find(self, node_id: int) -> Member | None:
        """Give the member of an id."""
        with self._changed:
            return next((m for m in self._members.values() if m.node_id == node_id), None)

    def wait_for_change(self, timeout_s: float) -> None:
        """Return once somebody joined, got ready or left since `nodes` was called, or after `timeout_s`."""
        with self._changed:
            self._changed.wait_for(lambda: self._has_news, timeout_s)

    def _tell(self) -> None:
        self._has_news = True
        self._changed.notify_all()
