"""Leases: pure functions that decide which node holds which partition, and when a run may start."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from fedmx.link.member import NodeView
from fedmx.settings import ServerSettings


@dataclass(frozen=True)
class Participant:
    """A node that takes part in a round.

    Attributes:
        node_id: unique in the federation.
        name: unique in the federation.
        partition: the partition that it works on; None if each site has its own data.
        site: the owner of its certificate; None on a link without certificates.
    """

    node_id: int
    name: str
    partition: int | None
    site: str | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Membership:
    """Which nodes take part in a run.

    Attributes:
        nodes: node name -> its partition; None if each site has its own data.
        partitions: the number of partitions; 0 if each site has its own data.
    """

    nodes: Mapping[str, int | None]
    partitions: int


@dataclass(frozen=True)
class StartRules:
    """When a run has enough nodes.

    Attributes:
        num_partitions: the number of nodes to wait for (NUM_PARTITIONS); 0: all that join at the start.
        min_clients: the minimum number of nodes of a run (MIN_CLIENTS).
        join_window_s: seconds without a new node after which a run starts (JOIN_WINDOW).
        lease_grace_s: seconds to wait for a disconnected node (LEASE_GRACE).
    """

    num_partitions: int
    min_clients: int
    join_window_s: float
    lease_grace_s: float

    @classmethod
    def build(cls, settings: ServerSettings) -> "StartRules":
        """Build the rules that the settings ask for."""
        return cls(settings.num_partitions, settings.min_clients, settings.join_window, settings.lease_grace)

    @property
    def least_nodes(self) -> int:
        """The minimum number of nodes to start a new run with."""
        return self.num_partitions or self.min_clients

    @property
    def setting(self) -> str:
        """The setting that determines `least_nodes`."""
        return "NUM_PARTITIONS" if self.num_partitions else "MIN_CLIENTS"


def renew(
    leases: Mapping[int, str], number: int, nodes: Iterable[NodeView], *, now: float, grace_s: float
) -> dict[int, str]:
    """Keep the leases of nodes within their grace period, and lease free partitions to waiting nodes.

    Args:
        leases: partition -> node name.
        number: the number of partitions.
        nodes: every node that ever joined, by time of first joining; partitions are leased in this order.
        now: monotonic seconds, on the clock of `NodeView.since`.
        grace_s: how long a disconnected node keeps its lease (LEASE_GRACE).
    """
    nodes = list(nodes)
    staying = {node.name for node in nodes if is_within_grace(node, now=now, grace_s=grace_s)}
    kept = {partition: name for partition, name in leases.items() if name in staying}
    free = [partition for partition in range(number) if partition not in kept]
    holders = set(kept.values())
    waiting = [node.name for node in nodes if node.is_ready and node.name not in holders]
    return {**kept, **dict(zip(free, waiting, strict=False))}


def is_within_grace(node: NodeView, *, now: float, grace_s: float) -> bool:
    """Whether a node is present, or has been disconnected for less than LEASE_GRACE."""
    return node.is_present or (node.description is not None and now - node.since < grace_s)


def participants(leases: Mapping[int, str], nodes: Iterable[NodeView]) -> list[Participant]:
    """List the nodes that hold leases, sorted by partition."""
    views = {node.name: node for node in nodes}
    return [
        Participant(views[name].node_id, name, partition, views[name].site)
        for partition, name in sorted(leases.items())
        if name in views
    ]


def participants_of_sites(nodes: Iterable[NodeView], *, now: float, grace_s: float) -> list[Participant]:
    """List the nodes of sites with their own data, sorted by name."""
    return [
        Participant(node.node_id, node.name, None, node.site)
        for node in sorted(nodes, key=lambda node: node.name)
        if node.description is not None and is_within_grace(node, now=now, grace_s=grace_s)
    ]


def may_start(nodes: Iterable[NodeView], rules: StartRules, *, now: float) -> bool:
    """Whether enough nodes are ready to start a new run.

    NUM_PARTITIONS nodes are enough. If it is 0, MIN_CLIENTS nodes are enough once no node has joined for
    JOIN_WINDOW seconds and none is still loading.
    """
    present = [node for node in nodes if node.is_present]
    ready = [node for node in present if node.is_ready]
    if rules.num_partitions:
        return len(ready) >= rules.num_partitions
    return len(ready) >= rules.min_clients and _is_quiet(present, rules, now)


def can_resume(
    nodes: Iterable[NodeView], known: Collection[str], rules: StartRules, *, now: float, since: float
) -> bool:
    """Whether a resumed run has enough nodes.

    The nodes that took part before are enough. The same number of any nodes is enough once no node has joined
    for JOIN_WINDOW seconds and none is still loading. After LEASE_GRACE, so are MIN_CLIENTS nodes.

    Args:
        nodes: every node that has joined since the server started.
        known: names of the nodes that took part before.
        rules: when a run has enough nodes.
        now: monotonic seconds.
        since: when the wait began.
    """
    present = [node for node in nodes if node.is_present]
    ready = [node for node in present if node.is_ready]
    if {node.name for node in ready} >= set(known):
        return True
    is_grace_over = len(ready) >= rules.min_clients and now - since >= rules.lease_grace_s
    return _is_quiet(present, rules, now) and (len(ready) >= len(known) or is_grace_over)


def _is_quiet(present: Collection[NodeView], rules: StartRules, now: float) -> bool:
    """Whether no node is still loading, and none has joined for JOIN_WINDOW seconds."""
    newest = max((node.since for node in present), default=now)
    return all(node.is_ready for node in present) and now - newest >= rules.join_window_s


def find_shortage(nodes: Iterable[NodeView], partitions: int) -> str | None:
    """Return the problem if a node has fewer examples than there are partitions; otherwise None.

    Args:
        nodes: the nodes that share one dataset.
        partitions: the number of partitions (NUM_PARTITIONS).
    """
    for node in nodes:
        for kind in ("train", "test"):
            count = None if node.description is None else node.description.get(f"{kind}-examples")
            if isinstance(count, int) and count < partitions:
                return (
                    f"NUM_PARTITIONS={partitions}: node {node.name} has {count} {kind} examples; expected at"
                    f" most {count} partitions"
                )
    return None
