"""The replies to one step of a round, over all its attempts."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from fedmx.link.request import Transfer
from fedmx.listing import list_names, shorten
from server.leases import Participant
from server.report import AskedNode, NodeReport, Rejection, Undefined
from server.update import Update


@dataclass
class Replies:
    """What came back in a step.

    Attributes:
        present: the most nodes that could be asked or had been admitted.
        wanted: the most nodes that the strategy asked or had been admitted.
        admitted: the newest update of each node whose reply was admitted.
        rejected: node name -> why its newest reply was rejected; an error is a reason too.
        failed: names of nodes with a rejected reply that would send the same reply if they were asked again.
        missing: node name -> why there was no reply when it was last asked.
        left_out: names of nodes that a quorum went on without when they were last asked.
        seconds: from sending to the last reply, all attempts together.
        transfers: of each node, by name.
        learning_rate: that the nodes were sent, averaged; None if none was.
    """

    present: int = 0
    wanted: int = 0
    admitted: dict[Participant, Update] = field(default_factory=dict)
    rejected: dict[str, str] = field(default_factory=dict)
    failed: set[str] = field(default_factory=set)
    missing: dict[str, str] = field(default_factory=dict)
    left_out: set[str] = field(default_factory=set)
    seconds: float = 0.0
    transfers: dict[str, list[Transfer]] = field(default_factory=dict)
    learning_rate: float | None = None
    _partitions: set[int] = field(default_factory=set)
    # By name: a node that reconnects may have another number.
    _asked: dict[str, Participant] = field(default_factory=dict)

    def in_order(self) -> list[Update]:
        """Return the updates by partition, then node name, whichever node replied first."""
        return sorted(
            self.admitted.values(),
            key=lambda update: (update.participant.partition or 0, update.participant.name),
        )

    def has_update_of(self, who: Participant) -> bool:
        """Whether a node, or another that held its partition before it, was admitted already."""
        return who in self.admitted or who.partition in self._partitions

    def can_use(self, who: Participant) -> bool:
        """Whether a reply of a node is wanted and may be admitted."""
        return who.name not in self.failed and not self.has_update_of(who)

    def note_transfer(self, who: Participant, transfer: Transfer | None) -> None:
        """Add the cost of a node's reply, where it was measured."""
        if transfer is not None:
            self.transfers.setdefault(who.name, []).append(transfer)

    def admit(self, update: Update) -> None:
        """Add an update; what was held against its node before is settled."""
        who = update.participant
        self._settle(who)
        self.admitted[who] = update
        if who.partition is not None:
            self._partitions.add(who.partition)

    def reject(self, who: Participant, reason: str, *, is_final: bool) -> None:
        """Note why a node's reply was rejected.

        Args:
            who: the node.
            reason: why.
            is_final: whether the node would send the same reply again.
        """
        self._settle(who)
        self.rejected[who.name] = reason
        if is_final:
            self.failed.add(who.name)

    def miss(self, who: Participant, reason: str) -> None:
        """Note why there is no reply of a node."""
        self._settle(who)
        self.missing[who.name] = reason

    def leave_out(self, nodes: Iterable[Participant]) -> None:
        """Note nodes that a quorum went on without."""
        for who in nodes:
            self._settle(who)
            self.left_out.add(who.name)

    def _settle(self, who: Participant) -> None:
        """Forget how an earlier attempt ended for a node."""
        self._asked[who.name] = who
        self.missing.pop(who.name, None)
        self.rejected.pop(who.name, None)
        self.left_out.discard(who.name)

    def are_complete(self, partitions: int) -> bool:
        """Whether every partition was admitted; with data of the sites' own, every site."""
        return 0 < len(self.admitted) == (partitions or self.present)

    def drop_arrays(self) -> None:
        """Release the updates' arrays, each of them a whole model; metrics stay."""
        for update in self.admitted.values():
            update.arrays.clear()

    def explain(self) -> str:
        """Return why replies were not admitted: the first reasons, each once with its nodes."""
        nodes: dict[str, list[str]] = {}
        left_out = dict.fromkeys(self.left_out, "no reply by the end of QUORUM_GRACE")
        for kind in (self.rejected, self.missing, left_out):
            for name, reason in sorted(kind.items()):
                nodes.setdefault(reason, []).append(name)
        reasons = [
            f"node{'s' if len(names) > 1 else ''} {list_names(names)}: {reason}"
            for reason, names in nodes.items()
        ]
        return "; ".join(shorten(reasons)) or f"nodes present: {self.present}"

    def list_rejections(self, step: str) -> list[Rejection]:
        """List the rejected replies by node name, for the report."""
        return [
            Rejection(name, self._asked[name].site, self._asked[name].partition, step, reason)
            for name, reason in sorted(self.rejected.items())
        ]

    def list_missing(self) -> list[AskedNode]:
        """List the nodes without a reply, for the report."""
        return self._describe(self.missing)

    def list_left_out(self) -> list[AskedNode]:
        """List the nodes that a quorum went on without, for the report."""
        return self._describe(self.left_out)

    def _describe(self, names: Iterable[str]) -> list[AskedNode]:
        asked = [self._asked[name] for name in names]
        return [AskedNode(who.name, who.site, who.partition) for who in asked]

    def list_undefined(self, step: str) -> list[Undefined]:
        """List the undefined metrics of admitted replies, for the report."""
        return [
            Undefined(update.participant.name, step, names)
            for update in self.in_order()
            if (names := update.undefined_metrics)
        ]

    def describe_nodes(self, evaluated: "Replies") -> tuple[list[NodeReport], list[NodeReport]]:
        """Describe the nodes that were admitted, and those of which only the evaluation was, for the report.

        Args:
            evaluated: the replies to the evaluation of the same round.
        """
        trained = {_key(update): update for update in self.in_order()}
        measured = {_key(update): update for update in evaluated.in_order()}
        both = [
            NodeReport.build(
                trained.get(key),
                measured.get(key),
                self.transfers.get(key[0], []),
                evaluated.transfers.get(key[0], []),
            )
            for key in (*trained, *(key for key in measured if key not in trained))
        ]
        return both[: len(trained)], both[len(trained) :]


def _key(update: Update) -> tuple[str, int | None]:
    """Return what identifies a node in a round: one that reconnects may have another number."""
    return update.participant.name, update.participant.partition
