"""One step of a round, train or evaluate: ask the nodes, and admit or reject their replies."""

import random
import time
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from statistics import fmean

from flwr.app import ArrayRecord, ConfigRecord, Message, MessageType, RecordDict

from fedmx import arrays
from fedmx.errors import TrainingFailedError
from fedmx.link.flower import may_differ
from fedmx.link.quorum import Cause, Quorum, count_enough
from fedmx.listing import shorten
from fedmx.log import printable, warn
from fedmx.round_news import RoundNews
from fedmx.settings import ServerSettings
from server import memory
from server.admission import RejectedError, admit
from server.custom_strategy import find_problem_in_messages
from server.engine import Engine
from server.few_lines import FewLines
from server.frozen_view import FrozenView
from server.leases import Participant
from server.model import GlobalModel
from server.nodes import Nodes
from server.privacy import clip
from server.reduced import restore_update
from server.replies import Replies
from server.strategies import Plan
from server.update import Update, records_of
from server.waiting import Question, ask


class Collector:
    """Runs the train and evaluate steps of one run.

    Args:
        engine: sends messages to the nodes.
        nodes: the nodes of the run.
        plan: the strategy, which selects nodes.
        settings: the server's settings.
        model: the model to send; its layout names the arrays and metrics that replies must contain.

    Attributes:
        news: what messages report about the run.
    """

    def __init__(
        self, engine: Engine, nodes: Nodes, plan: Plan, settings: ServerSettings, model: GlobalModel
    ) -> None:
        self._engine = engine
        self._nodes = nodes
        self._plan = plan
        self._settings = settings
        self._model = model
        self.news = RoundNews()
        # Step, node and name of each undefined metric that was logged.
        self._logged: set[tuple[str, str, str]] = set()
        self._most_updates = 0

    def collect(self, step: str, number: int, attempt: int, replies: Replies) -> None:
        """Send a message to each selected node, and add the replies to `replies`.

        Nodes whose reply was admitted by an earlier attempt, or rejected for good, are not asked again.

        Args:
            step: `train` or `evaluate`.
            number: the round.
            attempt: 0 for the first attempt at this step, 1 for the first retry, and so on.
            replies: the replies of earlier attempts; those of this attempt are added.
        """
        started = time.monotonic()
        candidates = {who.node_id: who for who in self._nodes.participants() if replies.can_use(who)}
        messages = self._configure(step, number, attempt, candidates)
        known = len(replies.admitted) + len(replies.failed)
        replies.present = max(replies.present, known + len(candidates))
        replies.wanted = max(replies.wanted, len(replies.admitted) + len(messages))
        if step == MessageType.TRAIN:
            replies.learning_rate = _average_rate(messages) or replies.learning_rate
            self._warn_of_memory(replies.wanted)
        asked = {id_: candidates[id_] for id_ in (message.metadata.dst_node_id for message in messages)}
        self._ask(step, number, messages, asked, replies)
        self._note_absent(step, number, asked.values(), replies, round(time.monotonic() - started, 1))
        replies.seconds += time.monotonic() - started

    def _ask(
        self,
        step: str,
        number: int,
        messages: Collection[Message],
        asked: dict[int, Participant],
        replies: Replies,
    ) -> None:
        """Send the messages, and add the replies to `replies`; nodes that do not reply stay in `asked`."""
        settings = self._settings
        question = Question(
            number,
            step,
            self._explain_end(step),
            settings.round_timeout,
            settings.lease_grace,
            self._choose_quorum(step, len(messages), replies),
            # A mistake in which arrays are frozen is reported by array, too.
            self._model.layout.size if step == MessageType.TRAIN else 0,
        )
        rejections = FewLines("rejected a reply", number=number, step=step)
        for reply in ask(self._engine, messages, asked, question, self._nodes.activity):
            who = asked.pop(reply.metadata.src_node_id)
            if reason := self._admit_or_reject(step, number, who, reply, replies):
                rejections.warn(node=who.name, reason=reason)
        rejections.end()

    def _choose_quorum(self, step: str, asked: int, replies: Replies) -> Quorum | None:
        """Return how many of the nodes that are asked have to reply; None: all of them.

        A quorum never ends a step with fewer updates than the round needs.
        """
        if self._settings.quorum == 1:
            return None
        admitted = len(replies.admitted)
        count = count_enough(self._settings.quorum, admitted + asked)
        if step == MessageType.TRAIN:
            count = max(count, self._settings.least_updates, self._plan.least_nodes)
        return Quorum(min(max(count - admitted, 1), asked), self._settings.quorum_grace)

    def _note_absent(
        self, step: str, number: int, absent: Collection[Participant], replies: Replies, elapsed_s: float
    ) -> None:
        """Note and log the nodes that did not reply, and those that a quorum went on without."""
        left_out = {who: None for who in absent if self._is_left_out(who)}
        missing = [who for who in absent if who not in left_out]
        reasons = self._nodes.explain_missing(missing)
        replies.leave_out(left_out)
        if left_out:
            warn(
                "nodes left out",
                round=number,
                step=step,
                nodes=shorten([who.name for who in left_out]),
                elapsed_s=elapsed_s,
                QUORUM_GRACE=self._settings.quorum_grace,
            )
        lines = FewLines("no answer", number=number, step=step)
        for who in missing:
            replies.miss(who, reasons[who.name])
            lines.warn(node=who.name, elapsed_s=elapsed_s, reason=reasons[who.name])
        lines.end()

    def _is_left_out(self, who: Participant) -> bool:
        return self._engine.find_absence(who.node_id).cause is Cause.LEFT_OUT

    def _configure(
        self, step: str, number: int, attempt: int, candidates: Mapping[int, Participant]
    ) -> list[Message]:
        """Let the strategy select nodes, and complete the messages that it builds for them."""
        # Strategies sample with Python's global generator, from a list of nodes sorted by partition.
        random.seed(f"{self._settings.seed}/{number}/{step}/{attempt}")
        strategy = self._plan.strategy
        configure = strategy.configure_train if step == MessageType.TRAIN else strategy.configure_evaluate
        if not candidates:
            return []
        view = FrozenView(list(candidates))
        config = ConfigRecord({**self._settings.hyperparameters_in(number).to_config()})
        with self._plan.guarded(f"{configure.__name__}()"):
            chosen = configure(number, self._model.layout.pick_trained(self._model.arrays), config, view)
            if isinstance(chosen, Iterator):
                chosen = list(chosen)
        if self._plan.is_custom and (problem := find_problem_in_messages(chosen, candidates)):
            raise TrainingFailedError(f"{configure.__name__}() of the strategy returned {problem}")
        by_node = self._choose_arrays()
        return [self._complete(message, number, by_node, candidates) for message in chosen]

    def _choose_arrays(self) -> Mapping[int, ArrayRecord]:
        """Return the arrays for each node: all of them, or all but the frozen ones if it has these.

        Nodes that are sent the same arrays share one record, which is encoded once.
        """
        holders = self._model.frozen.find_holders(self._nodes.all())
        without = self._model.layout.leave_out_frozen(self._model.arrays) if holders else ArrayRecord()
        return defaultdict(lambda: self._model.arrays, dict.fromkeys(holders, without))

    def _complete(
        self,
        message: Message,
        number: int,
        by_node: Mapping[int, ArrayRecord],
        candidates: Mapping[int, Participant],
    ) -> Message:
        """Replace the trained arrays by all that the node needs, and add its share of the data."""
        node_id = message.metadata.dst_node_id
        (config,) = records_of(message.content, ConfigRecord)
        share = self._nodes.data_config(candidates[node_id])
        task = {"schema": self._model.schema, **self._model.frozen.config}
        whole = ConfigRecord({**config, **share, **task, **self.news.to_config()})
        content = RecordDict({"arrays": by_node[node_id], "config": whole})
        return Message(content, node_id, message.metadata.message_type, group_id=str(number))

    def _admit_or_reject(
        self, step: str, number: int, who: Participant, reply: Message, replies: Replies
    ) -> str:
        """Add a node's reply to `replies`; return why it was rejected, or an empty text."""
        replies.note_transfer(who, self._engine.transfer(reply))
        try:
            self._restore(step, reply)
            update = admit(reply, who, step, self._model.layout)
        except RejectedError as error:
            # Training is deterministic: it helps to repeat a request only if its reply was lost.
            is_lost = reply.has_error() and may_differ(reply.error)
            replies.reject(who, printable(str(error)), is_final=not is_lost)
            return str(error)
        replies.admit(self._clip(update) if step == MessageType.TRAIN else update)
        self._warn_of_undefined(step, number, update)
        return ""

    def _restore(self, step: str, reply: Message) -> None:
        """Restore the arrays of an update that travelled in fewer bits.

        Raises:
            RejectedError: they cannot be restored.
        """
        if step != MessageType.TRAIN or reply.has_error():
            return
        dtype = self._settings.wire_dtype
        layout, before = self._model.layout, self._model.arrays
        if problem := restore_update(reply.content, dtype, layout, before, self._engine.store):
            raise RejectedError(problem)

    def _clip(self, update: Update) -> Update:
        """Clip an update where differential privacy asks for it."""
        mechanism = self._plan.mechanism
        if mechanism is None:
            return update
        trained = self._model.layout.pick_trained(update.arrays)
        clipped, was_longer = clip(trained, mechanism.current_arrays, mechanism.clipping_norm)
        if was_longer:
            for name, array in clipped.items():
                update.arrays[name] = self._engine.store.copy(arrays.view(array))
        return replace(update, was_clipped=was_longer)

    def _warn_of_undefined(self, step: str, number: int, update: Update) -> None:
        """Log each undefined metric of a node once per run: it is often undefined in every round."""
        node = update.participant.name
        new = [name for name in update.undefined_metrics if (step, node, name) not in self._logged]
        if new:
            self._logged.update((step, node, name) for name in new)
            warn("undefined metrics left out", round=number, step=step, node=node, metrics=new)

    def _warn_of_memory(self, updates: int) -> None:
        """Log a WARNING if this round has more updates than any before and may not fit into memory."""
        if updates > self._most_updates:
            self._most_updates = updates
            memory.warn_of_excess(self._model.layout, updates, self._settings)

    def _explain_end(self, step: str) -> str:
        """Return what happens if nodes do not reply in time, for the log."""
        if step == MessageType.EVALUATE:
            return "the round ends without their evaluation"
        least = self._settings.least_updates
        return (
            f"the round ends if {least} updates are admitted (MIN_UPDATES); otherwise it is retried or fails"
        )


def _average_rate(messages: Sequence[Message]) -> float | None:
    """Return the learning rate that the nodes are sent: a strategy may change it, also for some of them."""
    configs = [config for message in messages for config in records_of(message.content, ConfigRecord)]
    rates = [rate for config in configs if isinstance(rate := config.get("learning-rate"), (int, float))]
    return fmean(rates) if rates else None
