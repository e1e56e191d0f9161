"""Who holds which partition: the rules of leases, as plain functions of plain values."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from fedmx.link.member import NodeView
from fedmx.settings import ServerSettings


@dataclass(frozen=True)
class Participant:
    """A node that takes part in a round; `partition` is None where each site has data of its own."""

    node_id: int
    name: str
    partition: int | None


def renew(
    leases: Mapping[int, str], number: int, nodes: Iterable[NodeView], *, now: float, grace_s: float
) -> dict[int, str]:
    """Keep the leases of nodes that are there, and give free partitions to nodes that wait.

    Args:
        leases: partition -> node name.
        number: partitions in all.
        nodes: everyone who ever joined, in order of first joining, which is the order of waiting.
        now: monotonic seconds, on the clock of `NodeView.since`.
        grace_s: how long a node that is gone keeps its lease (LEASE_GRACE).
    """
    nodes = list(nodes)
    staying = {node.name for node in nodes if is_within_grace(node, now=now, grace_s=grace_s)}
    kept = {partition: name for partition, name in leases.items() if name in staying}
    free = [partition for partition in range(number) if partition not in kept]
    waiting = [node.name for node in nodes if node.is_ready and node.name not in kept.values()]
    return {**kept, **dict(zip(free, waiting, strict=False))}


def is_within_grace(node: NodeView, *, now: float, grace_s: float) -> bool:
    """Whether a node is there, or gone for so short a time that it is waited for."""
    return node.is_present or (node.description is not None and now - node.since < grace_s)


def participants(leases: Mapping[int, str], nodes: Iterable[NodeView]) -> list[Participant]:
    """List the nodes that hold leases, by partition."""
    ids = {node.name: node.node_id for node in nodes}
    return [
        Participant(ids[name], name, partition) for partition, name in sorted(leases.items()) if name in ids
    ]


def participants_of_sites(nodes: Iterable[NodeView], *, now: float, grace_s: float) -> list[Participant]:
    """List the nodes that bring data of their own, by name."""
    return [
        Participant(node.node_id, node.name, None)
        for node in sorted(nodes, key=lambda node: node.name)
        if node.description is not None and is_within_grace(node, now=now, grace_s=grace_s)
    ]


def may_start(nodes: Iterable[NodeView], settings: ServerSettings, *, now: float) -> bool:
    """Whether enough nodes are ready to give out leases.

    That is NUM_PARTITIONS nodes; where it is 0, MIN_CLIENTS, once for JOIN_WINDOW seconds nobody has joined
    and nobody who joined is still loading.
    """
    present = [node for node in nodes if node.is_present]
    ready = [node for node in present if node.is_ready]
    if settings.num_partitions:
        return len(ready) >= settings.num_partitions
    newest = max((node.since for node in present), default=now)
    return (
        len(ready) >= settings.min_clients
        and len(ready) == len(present)
        and now - newest >= settings.join_window
    )


def can_resume(
    nodes: Iterable[NodeView], known: Collection[str], settings: ServerSettings, *, now: float, since: float
) -> bool:
    """Whether a run that is taken up again has enough nodes.

    That is all that took part before, or as many, once for JOIN_WINDOW seconds nobody has joined and nobody
    who joined is still loading. Those who stay away for LEASE_GRACE are waited for no longer, if MIN_CLIENTS
    came.

    Args:
        nodes: everyone who joined since.
        known: names of those that took part before.
        settings: what the server was told.
        now: monotonic seconds.
        since: when the wait began.
    """
    present = [node for node in nodes if node.is_present]
    ready = [node for node in present if node.is_ready]
    if {node.name for node in ready} >= set(known):
        return True
    newest = max((node.since for node in present), default=now)
    is_quiet = len(ready) == len(present) and now - newest >= settings.join_window
    is_patience_over = len(ready) >= settings.min_clients and now - since >= settings.lease_grace
    return is_quiet and (len(ready) >= len(known) or is_patience_over)


def find_shortage(nodes: Iterable[NodeView], settings: ServerSettings) -> str | None:
    """Say which node has fewer examples than there are to be partitions, or give None."""
    if not settings.partition.is_shared:
        return None
    for node in nodes:
        for kind in ("train", "test"):
            count = None if node.description is None else node.description.get(f"{kind}-examples")
            if isinstance(count, int) and count < settings.num_partitions:
                return (
                    f"NUM_PARTITIONS={settings.num_partitions}: node {node.name} has {count} {kind}"
                    f" examples; expected at most {count} partitions"
                )
    return None
