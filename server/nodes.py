"""The nodes of a run: which are present, which the server waits for, and which hold leases."""

import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from fedmx.errors import SettingsError, TooFewNodesError
from fedmx.link.member import NodeView
from fedmx.link.quorum import Cause
from fedmx.log import event, warn
from fedmx.settings import ServerSettings
from server import leases
from server.activity import Activity
from server.engine import Engine
from server.leases import Membership, Participant, StartRules
from server.outlook import Outlook
from server.record.runs import NEW_RUN
from server.waiting import Wait

_POLL_S = 1.0
_NOTABLE_S = 1.0


class Nodes:
    """The nodes of a run, and the leases they hold.

    Args:
        engine: knows the nodes and the progress of their replies.
        settings: the server's settings.

    Attributes:
        activity: what the run does now.
    """

    def __init__(self, engine: Engine, settings: ServerSettings) -> None:
        self.activity = Activity()
        self._engine = engine
        self._settings = settings
        self._rules = StartRules.build(settings)
        self._leases: dict[int, str] = {}
        self._number = settings.num_partitions
        self._unheld: set[int] = set()
        self._known: frozenset[str] = frozenset()

    def restore(self, before: Membership) -> None:
        """Restore the leases of an earlier server, unless the number of partitions has changed."""
        if before.partitions == (self._number or before.partitions):
            self._known = frozenset(before.nodes)
            self._number = before.partitions
            self._leases = {part: name for name, part in before.nodes.items() if part is not None}

    @property
    def membership(self) -> Membership:
        """Which nodes take part, and the partition of each."""
        if self._settings.partition.is_shared:
            return Membership({name: partition for partition, name in self._leases.items()}, self.number)
        return Membership({who.name: None for who in self._list_sites()}, self.number)

    @property
    def number(self) -> int:
        """The number of partitions; 0 if each site has its own data."""
        return self._number if self._settings.partition.is_shared else 0

    def data_config(self, who: Participant) -> dict[str, str | int]:
        """Return the part of a message's config that describes the node's share of the data."""
        share: dict[str, str | int] = {"node": who.name}
        if who.partition is not None:
            share = {"partition": who.partition, "num-partitions": self.number}
        return {"seed": self._settings.seed, "partition-rule": str(self._settings.partition), **share}

    def all(self) -> list[NodeView]:
        """Return every node that ever joined."""
        return self._engine.roster.nodes()

    def await_start(self, deadline: float) -> None:
        """Wait for enough nodes, then fix the number of partitions.

        Called again if a node leaves before round 1.

        Args:
            deadline: monotonic seconds, CLIENT_WAIT_TIMEOUT after the wait began.

        Raises:
            TooFewNodesError: too few nodes were ready within CLIENT_WAIT_TIMEOUT.
            SettingsError: a node has fewer examples than NUM_PARTITIONS.
        """
        self.activity.begin("waiting for nodes")
        wait = Wait("waiting for nodes", self.activity)
        start = _StartWait(self._known, self._rules, since=time.monotonic(), deadline=deadline)
        while not start.is_over(nodes := self.all(), time.monotonic()):
            outlook = start.look(nodes)
            wait.report(outlook)
            self._check_partitions(nodes)
            if time.monotonic() >= deadline:
                raise TooFewNodesError(
                    f"{start.count_ready(nodes)} of {start.least} nodes were ready within"
                    f" {self._settings.client_wait_timeout:g} s (CLIENT_WAIT_TIMEOUT); {outlook.hint}"
                )
            self._wait(min(_POLL_S, self._settings.join_window or _POLL_S, deadline - time.monotonic()))
        self._fix_partitions(nodes)

    def await_any(self, least: int, timeout_s: float) -> None:
        """Wait until at least `least` nodes are ready or `timeout_s` has passed."""
        wait = Wait("waiting for nodes", self.activity)
        deadline = time.monotonic() + timeout_s
        while (ready := sum(node.is_ready for node in self.all())) < least:
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                return
            fields = {"ready": ready, "wanted": least, "wanted_by": "MIN_UPDATES"}
            then = "the round is retried with the nodes that are ready"
            wait.report(Outlook(fields, deadline, "LEASE_GRACE", then))
            self._wait(min(_POLL_S, left_s))

    def participants(self) -> list[Participant]:
        """Renew the leases and return the nodes that take part now, by partition or, for sites, by name."""
        if not self._settings.partition.is_shared:
            return self._list_sites()
        nodes = self.all()
        before = self._leases
        self._leases = leases.renew(
            before, self._number, nodes, now=time.monotonic(), grace_s=self._settings.lease_grace
        )
        self._log_changes(before)
        return leases.participants(self._leases, nodes)

    def explain_missing(self, asked: Collection[Participant]) -> dict[str, str]:
        """Return why nodes that were asked did not reply, by name; no quorum went on without them."""
        views = {node.node_id: node for node in self.all()}
        return {who.name: self._explain(who, views.get(who.node_id)) for who in asked}

    def _explain(self, who: Participant, node: NodeView | None) -> str:
        if node is not None and node.is_expelled:
            return "its site's certificate was revoked or has expired"
        absence = self._engine.find_absence(who.node_id)
        if absence.cause is Cause.LOST:
            return (
                f"its connection was lost and not restored within LEASE_GRACE={self._settings.lease_grace:g}"
            )
        if absence.cause is Cause.STALLED:
            return (
                f"{absence.progress or 'its request was on the way'}, and nothing moved for"
                f" LINK_STALL_TIMEOUT={self._settings.link_stall_timeout:g}"
            )
        reason = f"{absence.progress or 'no reply'} within ROUND_TIMEOUT={self._settings.round_timeout:g}"
        # Without them, the time that has passed would not fit the limit.
        if absence.transfer_s >= _NOTABLE_S:
            reason += f", not counting {absence.transfer_s:.0f} s of transfers"
        is_present = node is not None and node.is_present
        return reason if is_present else f"{reason}, and it is not connected"

    def _list_sites(self) -> list[Participant]:
        return leases.participants_of_sites(
            self.all(), now=time.monotonic(), grace_s=self._settings.lease_grace
        )

    def _check_partitions(self, nodes: Collection[NodeView]) -> None:
        """Reject NUM_PARTITIONS if a node has fewer examples, without waiting for the other nodes."""
        if not self._settings.partition.is_shared:
            return
        if shortage := leases.find_shortage(nodes, self._settings.num_partitions):
            raise SettingsError(shortage)

    def _fix_partitions(self, nodes: Collection[NodeView]) -> None:
        # A resumed run keeps its partitions.
        if self._known and self._leases:
            return
        number = self._settings.num_partitions or sum(node.is_ready for node in nodes)
        # A different number divides the data differently, so earlier leases no longer apply.
        if number != self._number:
            self._number = number
            self._leases = {}

    def _log_changes(self, before: dict[int, str]) -> None:
        unheld = set(range(self._number)) - self._leases.keys()
        for partition in sorted(unheld - self._unheld):
            warn(
                "no node holds a partition; its data is left out",
                partition=partition,
                partitions=self._number,
                before=before.get(partition),
            )
        self._unheld = unheld
        for partition, name in self._leases.items():
            if before.get(partition) != name:
                event("leased", partition=partition, partitions=self._number, node=name)

    def _wait(self, timeout_s: float) -> None:
        self._engine.roster.wait_for_change(max(timeout_s, 0.01))


@dataclass(frozen=True)
class _StartWait:
    """The wait for nodes before a new or resumed run begins.

    Attributes:
        known: names of the nodes that took part before; empty for a new run.
        rules: when a run has enough nodes.
        since: monotonic seconds at which the wait began.
        deadline: monotonic seconds at which CLIENT_WAIT_TIMEOUT ends it.
    """

    known: frozenset[str]
    rules: StartRules
    since: float
    deadline: float

    @property
    def least(self) -> int:
        """The minimum number of nodes at the deadline; for a resumed run, MIN_CLIENTS."""
        return self.rules.min_clients if self.known else self.rules.least_nodes

    @property
    def setting(self) -> str:
        """The setting that determines `least`."""
        return "MIN_CLIENTS" if self.known else self.rules.setting

    def count_ready(self, nodes: Collection[NodeView]) -> int:
        """Return how many nodes are ready."""
        return sum(node.is_ready for node in nodes)

    def is_over(self, nodes: Collection[NodeView], now: float) -> bool:
        """Whether the run may begin.

        At the deadline, the run begins with the nodes that are ready, if they are enough and NUM_PARTITIONS
        does not fix their number. Nodes that become ready later wait for a free partition.
        """
        if self.known:
            has_enough = leases.can_resume(nodes, self.known, self.rules, now=now, since=self.since)
        else:
            has_enough = leases.may_start(nodes, self.rules, now=now)
        is_fixed = bool(self.rules.num_partitions) and not self.known
        is_late = now >= self.deadline
        return has_enough or (is_late and not is_fixed and self.count_ready(nodes) >= self.least)

    def look(self, nodes: Collection[NodeView]) -> Outlook:
        """Return what the server waits for: more nodes, the nodes of the resumed run, or loading nodes."""
        ready = {node.name for node in nodes if node.is_ready}
        loading = sorted(node.name for node in nodes if node.is_present and not node.is_ready)
        fields = {
            "ready": len(ready),
            "wanted": len(self.known) or self.least,
            "wanted_by": None if self.known else self.setting,
            "loading": loading or None,
            "missing": sorted(self.known - ready - set(loading)) or None,
        }
        if len(ready) >= self.least:
            return self._look_at_enough(fields)
        then = f"the server ends with exit code {TooFewNodesError.exit_code}"
        hint = f"start more clients, or lower {self.setting}"
        if self.known:
            hint += f"; {NEW_RUN}"
        return Outlook(fields, self.deadline, "CLIENT_WAIT_TIMEOUT", then, hint)

    def _look_at_enough(self, fields: Mapping[str, object]) -> Outlook:
        grace_ends = self.since + self.rules.lease_grace_s
        if self.known and grace_ends < self.deadline:
            return Outlook(fields, grace_ends, "LEASE_GRACE", "the run resumes with the nodes that are ready")
        then = "the run starts with the nodes that are ready"
        return Outlook(fields, self.deadline, "CLIENT_WAIT_TIMEOUT", then)
