"""The nodes that joined: names, instances, readiness. Plain rules behind one lock, without sockets.

The thread of the streams writes it as nodes come and go; the main thread reads it and waits on it. A thousand
nodes may come at once, so what happens for one of them does not depend on how many there are.
"""

import itertools
import math
import threading
import time
from collections.abc import Callable

from flwr.app import ConfigRecord

from fedmx.errors import RefusedError
from fedmx.link.member import Member, NodeView, Stream
from fedmx.pki.access import Site

MAX_PRESENT = 1_000
"""The nodes that may be connected at once."""

_MOST_MEMBERS = 10_000
_FORGOTTEN_AFTER_S = 3_600.0
# 1 is the server's.
_FIRST_NODE_ID = 2


class Roster:
    """The members of one federation.

    Args:
        find_difference: returns why a node of the first description cannot work beside one of the second.
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
        self._by_id: dict[int, Member] = {}
        self._by_instance: dict[str, Member] = {}
        # By name, in order of first joining.
        self._views: dict[str, NodeView] = {}
        self._present = 0
        self._ready = 0
        self._ids = itertools.count(_FIRST_NODE_ID)
        self._reference: ConfigRecord | None = None
        self._is_pinned = False
        self._origin = "this federation"
        self._remedy = ""
        self._changed = threading.Condition()
        # Whether something changed since `nodes` was called.
        self._has_news = False

    def join(
        self, name: str, instance: str, stream: Stream, *, is_name_given: bool, site: Site | None = None
    ) -> tuple[Member, Stream | None]:
        """Admit a node that sent its hello; return its member and the stream that it replaces, if any.

        The same instance comes back under its name. Another instance gets a name whose node is gone, together
        with what was asked of that node; beside a living node of that name it gets a counter, unless the name
        was given.

        Raises:
            RefusedError: the name was given and belongs to a living node, or there are too many nodes.
        """
        with self._changed:
            member = self._by_instance.get(instance)
            if member is None or member.stream is None:
                self._check_room()
            if member is None:
                member = self._find_by_name(name, instance, is_name_given=is_name_given)
            replaced = member.stream
            if member.instance != instance:
                self._by_instance.pop(member.instance, None)
                member.instance = instance
                member.description = None
                member.device = ""
            self._by_instance[instance] = member
            member.stream = stream
            member.site = site
            member.since = self._clock()
            self._note(member)
            return member, replaced

    def _check_room(self) -> None:
        if self._present >= MAX_PRESENT:
            raise RefusedError(f"{MAX_PRESENT} nodes are connected, the most that this server accepts")

    def _find_by_name(self, name: str, instance: str, *, is_name_given: bool) -> Member:
        """Return the member that another instance becomes: one whose node is gone, or a new one."""
        for wanted in itertools.chain([name], (f"{name}-{number}" for number in itertools.count(2))):
            member = self._members.get(wanted)
            if member is None:
                self._forget_oldest()
                member = Member(wanted, next(self._ids), instance, self._clock())
                self._members[wanted] = member
                self._by_id[member.node_id] = member
                return member
            if member.stream is None:
                return member
            if is_name_given:
                raise RefusedError(
                    f"node {name}: a living node has this name; expected another NODE_NAME for each client"
                )
        raise AssertionError("the counter never ends")

    def _forget_oldest(self) -> None:
        """Forget the node that has been gone for longest if there are many: names can come without end."""
        if len(self._members) < _MOST_MEMBERS:
            return
        now = self._clock()
        gone = [m for m in self._members.values() if m.stream is None and now - m.since > _FORGOTTEN_AFTER_S]
        if gone:
            oldest = min(gone, key=lambda member: member.since)
            del self._members[oldest.name], self._by_id[oldest.node_id], self._views[oldest.name]
            self._by_instance.pop(oldest.instance, None)

    def ready(self, member: Member, description: ConfigRecord, device: str = "") -> None:
        """Mark a node ready for work.

        Args:
            member: the node.
            description: what must agree between nodes.
            device: what it trains on.

        Raises:
            RefusedError: it differs from the federation.
        """
        with self._changed:
            reference = description if self._reference is None else self._reference
            difference = self._find_difference(description, reference)
            if difference is not None:
                raise RefusedError(
                    f"node {member.name} differs from {self._origin}: {difference}{self._remedy}"
                )
            self._reference = reference
            member.description = description
            member.device = device
            self._note(member)

    def leave(self, member: Member, stream: Stream, *, is_for_good: bool = False) -> bool:
        """Note that a stream ended; return whether its node is gone now (it may have come back already).

        Args:
            member: the owner of the stream.
            stream: the stream that ended.
            is_for_good: the node is no longer awaited.
        """
        with self._changed:
            if member.stream is not stream:
                return False
            member.stream = None
            member.since = -math.inf if is_for_good else self._clock()
            self._note(member)
            if not self._is_pinned and not self._ready:
                # No node is left to differ from.
                self._reference = None
            return True

    def list_awaited(self) -> list[Member]:
        """Return the members that are gone and may still come back."""
        with self._changed:
            return [m for m in self._members.values() if m.stream is None and m.since > -math.inf]

    def expel(self, member: Member) -> bool:
        """Stop waiting for a node that is gone; return whether it was awaited."""
        with self._changed:
            if member.stream is not None or member.since == -math.inf:
                return False
            member.since = -math.inf
            self._note(member)
            return True

    def is_gone(self, member: Member, grace_s: float) -> bool:
        """Return whether a member's stream has been gone for longer than the grace period."""
        with self._changed:
            return member.stream is None and self._clock() - member.since >= grace_s

    def pin(self, description: ConfigRecord, origin: str = "", remedy: str = "") -> None:
        """Fix what later nodes are compared with: the run has started.

        Args:
            description: of the run's nodes.
            origin: what the description belongs to, for the nodes that are refused; unchanged if empty.
            remedy: what a refused node's owner can do about it.
        """
        with self._changed:
            self._reference = description
            self._is_pinned = True
            if origin:
                self._origin = origin
                self._remedy = remedy

    def nodes(self) -> list[NodeView]:
        """Return every node that ever joined, in order of first joining."""
        with self._changed:
            self._has_news = False
            return list(self._views.values())

    def find(self, node_id: int) -> Member | None:
        """Return the member of an id."""
        with self._changed:
            return self._by_id.get(node_id)

    def wait_for_change(self, timeout_s: float) -> None:
        """Return once a node joined, got ready or left since `nodes` was called, or after `timeout_s`."""
        with self._changed:
            self._changed.wait_for(lambda: self._has_news, timeout_s)

    def _note(self, member: Member) -> None:
        """Note that a member has changed."""
        before = self._views.get(member.name)
        view = self._views[member.name] = member.view()
        self._present += view.is_present - (before is not None and before.is_present)
        self._ready += view.is_ready - (before is not None and before.is_ready)
        self._has_news = True
        self._changed.notify_all()
