"""The nodes of a grid: who is there, who is waited for, and who holds which partition."""

import math
import time
from collections.abc import Mapping

from flwr.app import ConfigRecord
from flwr.serverapp import Grid

from fedmx.errors import SettingsError, TooFewNodesError
from fedmx.link.grid import LinkGrid
from fedmx.link.member import NodeView
from fedmx.log import event, warn
from fedmx.settings import ServerSettings
from server import leases
from server.leases import Participant
from server.record.runs import NEW_RUN
from server.waiting import Outlook, Wait

_POLL_S = 1.0


class Nodes:
    """The nodes of a grid, and which of them hold leases; on every engine.

    On the direct link nodes have names and come and go; on Flower's engines a node is its id.
    """

    def __init__(self, grid: Grid, settings: ServerSettings) -> None:
        self._grid = grid
        self._settings = settings
        self._leases: dict[int, str] = {}
        self._first_seen: dict[int, float] = {}
        self._number = settings.num_partitions
        self._unheld: set[int] = set()
        self._known: frozenset[str] = frozenset()

    def restore(self, held: Mapping[str, int | None], partitions: int) -> None:
        """Take over who held what of how many partitions before the server was started again."""
        if partitions == (self._number or partitions):  # else they are other parts of the data
            self._known, self._number = frozenset(held), partitions
            self._leases = {part: name for name, part in held.items() if part is not None}

    def holders(self) -> dict[str, int | None]:
        """Give who takes part, and the partition of each."""
        if self._settings.partition.is_shared:
            return {name: partition for partition, name in self._leases.items()}
        now, grace_s = time.monotonic(), self._settings.lease_grace
        return {who.name: None for who in leases.participants_of_sites(self.all(), now=now, grace_s=grace_s)}

    @property
    def number(self) -> int:
        """Partitions in all; 0 where each site has its own data."""
        return self._number if self._settings.partition.is_shared else 0

    def all(self) -> list[NodeView]:
        """Give everyone who ever joined."""
        if isinstance(self._grid, LinkGrid):
            return self._grid.roster.nodes()
        now = time.monotonic()
        ids = list(self._grid.get_node_ids())
        seen = {node_id: self._first_seen.setdefault(node_id, now) for node_id in ids}
        return [
            NodeView(str(i), i, is_present=True, description=ConfigRecord(), since=t) for i, t in seen.items()
        ]

    def await_start(self, deadline: float) -> None:
        """Wait for enough nodes, and fix the number of partitions; again where a node was lost since.

        Args:
            deadline: monotonic seconds, CLIENT_WAIT_TIMEOUT after the wait began.

        Raises:
            TooFewNodesError: they did not come within CLIENT_WAIT_TIMEOUT.
            SettingsError: a node has fewer examples than NUM_PARTITIONS.
        """
        since = time.monotonic()
        fixed = 0 if self._known else self._settings.num_partitions
        wanted = fixed or self._settings.min_clients
        wait = Wait("waiting for nodes")
        while not self._may_begin(nodes := self.all(), since):
            ready = sum(node.is_ready for node in nodes)
            outlook = self._look_at_start(nodes, deadline, since)
            wait.report(outlook)
            if shortage := leases.find_shortage(nodes, self._settings):
                raise SettingsError(shortage)  # known before all have come, which may be never
            if time.monotonic() >= deadline:
                if not fixed and ready >= wanted:
                    break  # someone is still loading or joining: whoever is late waits for a free partition
                raise TooFewNodesError(
                    f"{ready} of {wanted} nodes were ready within {self._settings.client_wait_timeout:g} s"
                    f" (CLIENT_WAIT_TIMEOUT); {outlook.hint}"
                )
            self._wait(min(_POLL_S, self._settings.join_window or _POLL_S, deadline - time.monotonic()))
        if self._known and self._leases:
            return  # a run that is taken up again keeps its partitions
        number = self._settings.num_partitions or sum(node.is_ready for node in nodes)
        if number != self._number:  # then every partition is another part of the data
            self._number, self._leases = number, {}

    def _may_begin(self, nodes: list[NodeView], since: float) -> bool:
        now = time.monotonic()
        if self._known:
            return leases.can_resume(nodes, self._known, self._settings, now=now, since=since)
        return leases.may_start(nodes, self._settings, now=now)

    def _look_at_start(self, nodes: list[NodeView], deadline: float, since: float) -> Outlook:
        """Return what a start waits for: so many nodes, those of before, or only that they are loaded."""
        settings, ready = self._settings, {node.name for node in nodes if node.is_ready}
        loading = sorted(node.name for node in nodes if node.is_present and not node.is_ready)
        is_fixed = bool(settings.num_partitions) and not self._known
        least, setting = settings.min_clients, "MIN_CLIENTS"
        if is_fixed:
            least, setting = settings.num_partitions, "NUM_PARTITIONS"
        fields = {
            "ready": len(ready),
            "wanted": len(self._known) or least,
            "wanted_by": None if self._known else setting,
            "loading": loading or None,
            "missing": sorted(self._known - ready) or None,
        }
        patience_ends = since + settings.lease_grace
        if self._known and len(ready) >= least and patience_ends < deadline:
            return Outlook(
                fields, patience_ends, "LEASE_GRACE", "the run resumes with the nodes that are ready"
            )
        if len(ready) >= least:
            then = "the run starts with the nodes that are ready"
            return Outlook(fields, deadline, "CLIENT_WAIT_TIMEOUT", then)
        then = f"the server ends with exit code {TooFewNodesError.exit_code}"
        hint = f"start more clients, or lower {setting}"
        if self._known:
            hint += f"; {NEW_RUN}"
        return Outlook(fields, deadline, "CLIENT_WAIT_TIMEOUT", then, hint)

    def await_any(self, least: int, timeout_s: float) -> None:
        """Wait until at least so many nodes are ready, at most `timeout_s`."""
        deadline, wait = time.monotonic() + timeout_s, Wait("waiting for nodes")
        while (ready := sum(n.is_ready for n in self.all())) < least:
            if (left_s := deadline - time.monotonic()) <= 0:
                return
            fields = {"ready": ready, "wanted": least, "wanted_by": "MIN_UPDATES"}
            then = "the round is tried again with the nodes that are ready"
            wait.report(Outlook(fields, deadline, "LEASE_GRACE", then))
            self._wait(min(_POLL_S, left_s))

    def participants(self) -> list[Participant]:
        """Renew the leases and list who takes part now, in the fixed order."""
        nodes, now, grace_s = self.all(), time.monotonic(), self._settings.lease_grace
        if not self._settings.partition.is_shared:
            return leases.participants_of_sites(nodes, now=now, grace_s=grace_s)
        before = self._leases
        self._leases = leases.renew(before, self._number, nodes, now=now, grace_s=grace_s)
        unheld = set(range(self._number)) - self._leases.keys()
        for partition in sorted(unheld - self._unheld):
            warn(
                "no node holds a partition, its data is left out",
                partition=partition,
                partitions=self._number,
                before=before.get(partition),
            )
        self._unheld = unheld
        for partition, name in self._leases.items():
            if before.get(partition) != name:
                event("leased", partition=partition, partitions=self._number, node=name)
        return leases.participants(self._leases, nodes)

    def explain_missing(self, who: Participant) -> str:
        """Return why there is no reply of a node that was asked."""
        limit = f"within ROUND_TIMEOUT={self._settings.round_timeout:g}"
        if not isinstance(self._grid, LinkGrid):
            return f"no reply {limit}"
        node = next((node for node in self.all() if node.node_id == who.node_id), None)
        if node is not None and math.isinf(node.since):
            return "its site may not take part any more"
        progress = self._grid.progress(who.node_id)
        if progress is None:
            return f"its connection was lost, and not back within LEASE_GRACE={self._settings.lease_grace:g}"
        is_here = node is not None and node.is_present
        return f"{progress or 'no reply'} {limit}{'' if is_here else ', and it is not connected'}"

    def _wait(self, timeout_s: float) -> None:
        timeout_s = max(timeout_s, 0.01)
        if isinstance(self._grid, LinkGrid):
            self._grid.roster.wait_for_change(timeout_s)
        else:
            time.sleep(timeout_s)  # Flower's grids cannot signal a change
