"""One step of a round, train or evaluate: ask the nodes, and sort what comes back."""

import random
import time
from dataclasses import dataclass, field

from flwr.app import ArrayRecord, ConfigRecord, Message, MessageType, RecordDict
from flwr.serverapp import Grid

from fedmx.link.flower import may_differ
from fedmx.link.grid import LinkGrid
from fedmx.log import printable, warn
from fedmx.settings import ServerSettings
from server import admission, memory
from server.agreement import data_config
from server.frozen_view import FrozenView
from server.leases import Participant
from server.model import Layout
from server.nodes import Nodes
from server.strategies import Plan
from server.waiting import Question, ask


@dataclass
class Replies:
    """What came back in a step, over all its attempts.

    Attributes:
        present: the most nodes that could be asked or had been admitted.
        wanted: the most nodes that the strategy asked or had been admitted.
        admitted: replies that may be averaged.
        refused: node name -> why its newest reply may not be averaged; an error is a reason too.
        failed: names of refused nodes that would answer the same if they were asked again.
        missing: node name -> why there was no reply when it was asked last.
        seconds: from sending to the last reply, all attempts together.
        node_seconds, bytes_down, bytes_up: by node name, all attempts together.
    """

    present: int = 0
    wanted: int = 0
    admitted: dict[Participant, Message] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    failed: set[str] = field(default_factory=set)
    missing: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    node_seconds: dict[str, float] = field(default_factory=dict)
    bytes_down: dict[str, int] = field(default_factory=dict)
    bytes_up: dict[str, int] = field(default_factory=dict)

    def in_order(self) -> list[tuple[Participant, Message]]:
        """Give the admitted replies by partition, then node name: never by who answered first."""
        return sorted(self.admitted.items(), key=lambda item: (item[0].partition or 0, item[0].name))

    def has_reply_of(self, who: Participant) -> bool:
        """Whether a node, or another that held its partition before it, was admitted already."""
        return who in self.admitted or (
            who.partition is not None and who.partition in {other.partition for other in self.admitted}
        )

    def can_use(self, who: Participant) -> bool:
        """Whether a node's answer is wanted and may be admitted."""
        return who.name not in self.failed and not self.has_reply_of(who)

    def means(self) -> dict[str, float] | None:
        """Give the example-weighted means of the admitted replies' metrics, if there are any."""
        if not self.admitted:
            return None
        return admission.weighted_means(
            [admission.split_metrics(reply.content)[0] for _, reply in self.in_order()]
        )

    def undefined(self) -> dict[str, list[str]]:
        """Return the names of the undefined metrics of admitted replies, by node name."""
        found = {who.name: admission.split_metrics(reply.content)[1] for who, reply in self.in_order()}
        return {name: metrics for name, metrics in found.items() if metrics}

    def are_whole(self, partitions: int) -> bool:
        """Whether the admitted replies are of all data: of every partition, or of every site."""
        return 0 < len(self.admitted) == (partitions or self.present)

    def drop_arrays(self) -> None:
        """Let go of the updates' arrays, each a whole model; metrics stay."""
        for reply in self.admitted.values():
            admission.arrays_of(reply.content).clear()

    def explain(self) -> str:
        """Return what became of the replies that were not admitted: each reason once, with its nodes."""
        nodes: dict[str, list[str]] = {}
        for name, reason in [*sorted(self.refused.items()), *sorted(self.missing.items())]:
            nodes.setdefault(reason, []).append(name)
        reasons = [
            f"node{'s' if len(names) > 1 else ''} {', '.join(names)}: {reason}"
            for reason, names in nodes.items()
        ]
        return "; ".join(reasons) or f"nodes present: {self.present}"


class Asker:
    """Carries out the steps of one run.

    Args:
        grid: reaches the nodes.
        nodes: who they are.
        plan: the strategy, which chooses among them.
        settings: what the server was told.
        layout: what replies must look like.
    """

    def __init__(
        self, grid: Grid, nodes: Nodes, plan: Plan, settings: ServerSettings, layout: Layout
    ) -> None:
        self._grid = grid
        self._nodes = nodes
        self._plan = plan
        self._settings = settings
        self._layout = layout
        # Step, node and name of each undefined metric that was logged.
        self._logged: set[tuple[str, str, str]] = set()
        self._most_updates = 0

    def ask(self, step: str, number: int, attempt: int, arrays: ArrayRecord, replies: Replies) -> None:
        """Ask the nodes whose replies are wanted and may be admitted, and sort them into `replies`.

        Args:
            step: `train` or `evaluate`.
            number: the round.
            attempt: 0 at first, counting up when the step is tried again.
            arrays: the global arrays, all of them, in the model's order.
            replies: of the attempts before this one; filled.
        """
        started = time.monotonic()
        everyone = {who.node_id: who for who in self._nodes.participants() if replies.can_use(who)}
        messages = self._configure(step, number, attempt, arrays, everyone)
        known = len(replies.admitted) + len(replies.failed)
        replies.present = max(replies.present, known + len(everyone))
        replies.wanted = max(replies.wanted, len(replies.admitted) + len(messages))
        if step == MessageType.TRAIN and replies.wanted > self._most_updates:
            self._most_updates = replies.wanted
            memory.warn_of_excess(self._layout, replies.wanted, self._settings)
        asked = {id_: everyone[id_] for id_ in (message.metadata.dst_node_id for message in messages)}
        question = Question(number, step, self._explain_end(step))
        for reply in ask(self._grid, messages, asked, question, self._settings):
            self._sort(step, number, asked.pop(reply.metadata.src_node_id), reply, replies)
        for who in asked.values():
            replies.refused.pop(who.name, None)
            replies.missing[who.name] = reason = self._nodes.explain_missing(who)
            after_s = round(time.monotonic() - started, 1)
            warn("no answer", round=number, step=step, node=who.name, after_s=after_s, reason=reason)
        replies.seconds += time.monotonic() - started

    def _explain_end(self, step: str) -> str:
        """Return what happens when nodes have not answered in time, for the log."""
        if step == MessageType.EVALUATE:
            return "the round ends without their evaluation"
        least = self._settings.least_updates
        return (
            f"the round ends if {least} updates are admitted (MIN_UPDATES), or else is tried again or fails"
        )

    def _configure(
        self, step: str, number: int, attempt: int, arrays: ArrayRecord, everyone: dict[int, Participant]
    ) -> list[Message]:
        """Have the strategy choose among the nodes, and complete its messages."""
        # Strategies sample with the global generator, in the order of the view: by partition.
        random.seed(f"{self._settings.seed}/{number}/{step}/{attempt}")
        strategy = self._plan.strategy
        configure = strategy.configure_train if step == MessageType.TRAIN else strategy.configure_evaluate
        if not everyone:
            return []
        view = FrozenView(list(everyone))
        config = ConfigRecord({**self._settings.hyperparameters.to_config()})
        chosen = configure(number, self._layout.pick_trained(arrays), config, view)
        return [self._complete(message, number, arrays, everyone) for message in chosen]

    def _complete(
        self, message: Message, number: int, arrays: ArrayRecord, everyone: dict[int, Participant]
    ) -> Message:
        """Add what the strategy does not know: all arrays, and the node's part of the data."""
        node_id = message.metadata.dst_node_id
        config = admission.records_of(message.content, ConfigRecord)[0]
        part = data_config(everyone[node_id], self._nodes.number, self._settings)
        content = RecordDict({"arrays": arrays, "config": ConfigRecord({**config, **part})})
        return Message(content, node_id, message.metadata.message_type, group_id=str(number))

    def _sort(self, step: str, number: int, who: Participant, reply: Message, replies: Replies) -> None:
        transfer = self._grid.transfer(reply) if isinstance(self._grid, LinkGrid) else None
        if transfer is not None:
            replies.node_seconds[who.name] = replies.node_seconds.get(who.name, 0.0) + transfer.seconds
            replies.bytes_down[who.name] = replies.bytes_down.get(who.name, 0) + transfer.bytes_down
            replies.bytes_up[who.name] = replies.bytes_up.get(who.name, 0) + transfer.bytes_up
        replies.missing.pop(who.name, None)
        replies.refused.pop(who.name, None)
        fault = self._find_fault(step, reply)
        if fault is None:
            replies.admitted[who] = reply
            self._warn_of_undefined(step, number, who, reply)
            return
        replies.refused[who.name] = printable(fault)
        # Training is repeatable: only what was lost on the way may be another reply next time.
        if not (reply.has_error() and may_differ(reply.error)):
            replies.failed.add(who.name)
        warn("refused a reply", round=number, step=step, node=who.name, reason=fault)

    def _warn_of_undefined(self, step: str, number: int, who: Participant, reply: Message) -> None:
        """Log a node's undefined metrics, once in the run: they stay so where its data is the reason."""
        _, metrics = admission.split_metrics(reply.content)
        new = [name for name in metrics if (step, who.name, name) not in self._logged]
        if new:
            self._logged.update((step, who.name, name) for name in new)
            warn("undefined metrics left out", round=number, step=step, node=who.name, metrics=new)

    def _find_fault(self, step: str, reply: Message) -> str | None:
        if reply.has_error():
            return reply.error.reason or "an error without a reason"
        if step == MessageType.TRAIN:
            return admission.find_fault_of_update(reply.content, self._layout)
        return admission.find_fault_of_evaluation(reply.content, self._layout)
