"""One step of a round, train or evaluate: ask the nodes, and admit or reject what comes back."""

import random
import time
from collections.abc import Mapping

from flwr.app import ArrayRecord, ConfigRecord, Message, MessageType, RecordDict

from fedmx.link.flower import may_differ
from fedmx.log import printable, warn
from fedmx.settings import ServerSettings
from server import memory
from server.admission import RejectedError, admit
from server.engine import Engine
from server.frozen_view import FrozenView
from server.leases import Participant
from server.model import Layout
from server.nodes import Nodes
from server.replies import Replies
from server.strategies import Plan
from server.update import Update, records_of
from server.waiting import Question, ask


class Collector:
    """Carries out the steps of one run.

    Args:
        engine: reaches the nodes.
        nodes: who they are.
        plan: the strategy, which chooses among them.
        settings: the server's.
        layout: what replies must look like.
    """

    def __init__(
        self, engine: Engine, nodes: Nodes, plan: Plan, settings: ServerSettings, layout: Layout
    ) -> None:
        self._engine = engine
        self._nodes = nodes
        self._plan = plan
        self._settings = settings
        self._layout = layout
        # Step, node and name of each undefined metric that was logged.
        self._logged: set[tuple[str, str, str]] = set()
        self._most_updates = 0

    def collect(self, step: str, number: int, attempt: int, arrays: ArrayRecord, replies: Replies) -> None:
        """Ask the nodes whose replies are wanted and may be admitted, and add what they reply.

        Args:
            step: `train` or `evaluate`.
            number: the round.
            attempt: 0 at first, one more each time the step is repeated.
            arrays: the global arrays, all of them, in the model's order.
            replies: of the attempts before this one; this one's are added.
        """
        started = time.monotonic()
        candidates = {who.node_id: who for who in self._nodes.participants() if replies.can_use(who)}
        messages = self._configure(step, number, attempt, arrays, candidates)
        known = len(replies.admitted) + len(replies.failed)
        replies.present = max(replies.present, known + len(candidates))
        replies.wanted = max(replies.wanted, len(replies.admitted) + len(messages))
        if step == MessageType.TRAIN:
            self._warn_of_memory(replies.wanted)
        asked = {id_: candidates[id_] for id_ in (message.metadata.dst_node_id for message in messages)}
        question = Question(number, step, self._explain_end(step))
        for reply in ask(self._engine, messages, asked, question, self._settings):
            self._admit_or_reject(step, number, asked.pop(reply.metadata.src_node_id), reply, replies)
        for who in asked.values():
            reason = self._nodes.explain_missing(who)
            replies.miss(who, reason)
            elapsed_s = round(time.monotonic() - started, 1)
            warn("no answer", round=number, step=step, node=who.name, elapsed_s=elapsed_s, reason=reason)
        replies.seconds += time.monotonic() - started

    def _configure(
        self,
        step: str,
        number: int,
        attempt: int,
        arrays: ArrayRecord,
        candidates: Mapping[int, Participant],
    ) -> list[Message]:
        """Let the strategy choose among the nodes, and complete its messages."""
        # Strategies sample with the global generator, in the order of the view: by partition.
        random.seed(f"{self._settings.seed}/{number}/{step}/{attempt}")
        strategy = self._plan.strategy
        configure = strategy.configure_train if step == MessageType.TRAIN else strategy.configure_evaluate
        if not candidates:
            return []
        view = FrozenView(list(candidates))
        config = ConfigRecord({**self._settings.hyperparameters.to_config()})
        chosen = configure(number, self._layout.pick_trained(arrays), config, view)
        return [self._complete(message, number, arrays, candidates) for message in chosen]

    def _complete(
        self, message: Message, number: int, arrays: ArrayRecord, candidates: Mapping[int, Participant]
    ) -> Message:
        """Add what the strategy does not know: all arrays, and which part of the data the node works on."""
        node_id = message.metadata.dst_node_id
        (config,) = records_of(message.content, ConfigRecord)
        share = self._nodes.data_config(candidates[node_id])
        content = RecordDict({"arrays": arrays, "config": ConfigRecord({**config, **share})})
        return Message(content, node_id, message.metadata.message_type, group_id=str(number))

    def _admit_or_reject(
        self, step: str, number: int, who: Participant, reply: Message, replies: Replies
    ) -> None:
        replies.note_transfer(who, self._engine.transfer(reply))
        try:
            update = admit(reply, who, step, self._layout)
        except RejectedError as error:
            # Training is repeatable: only a reply that was lost may be another one next time.
            is_lost = reply.has_error() and may_differ(reply.error)
            replies.refuse(who, printable(str(error)), is_final=not is_lost)
            warn("refused a reply", round=number, step=step, node=who.name, reason=error)
        else:
            replies.admit(update)
            self._warn_of_undefined(step, number, update)

    def _warn_of_undefined(self, step: str, number: int, update: Update) -> None:
        """Log a node's undefined metrics once in the run: they stay so where its data is the reason."""
        node = update.participant.name
        new = [name for name in update.undefined_metrics if (step, node, name) not in self._logged]
        if new:
            self._logged.update((step, node, name) for name in new)
            warn("undefined metrics left out", round=number, step=step, node=node, metrics=new)

    def _warn_of_memory(self, updates: int) -> None:
        """Log a WARNING when more updates than ever before may not fit into memory."""
        if updates > self._most_updates:
            self._most_updates = updates
            memory.warn_of_excess(self._layout, updates, self._settings)

    def _explain_end(self, step: str) -> str:
        """Return what happens when nodes have not answered in time, for the log."""
        if step == MessageType.EVALUATE:
            return "the round ends without their evaluation"
        least = self._settings.least_updates
        return (
            f"the round ends if {least} updates are admitted (MIN_UPDATES), or else is tried again or fails"
        )
