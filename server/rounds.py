"""The round loop: collect updates, aggregate them, evaluate the new model, write and report the round."""

import itertools
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from flwr.app import ArrayRecord, MessageType

from fedmx.errors import TrainingFailedError
from fedmx.link.flower import AppExitException
from fedmx.log import warn
from fedmx.settings import ServerSettings
from server.aggregate import aggregate, pass_evaluation
from server.collect import Collector
from server.model import GlobalModel
from server.nodes import Nodes
from server.record.run import RunRecord
from server.replies import Replies
from server.report import AskedNode, RoundReport, Seconds, StepReport
from server.reporting.reporter import Reporter
from server.stopping import EPSILON
from server.strategies import Plan
from server.task_checks import warn_of_unmeasured

_ATTEMPTS = 3
"""How often a round is tried, as long as another attempt can have a different result."""


@dataclass(frozen=True)
class RoundLoop:
    """Trains a model round by round.

    Attributes:
        collector: sends train and evaluate messages, and collects the replies.
        nodes: the nodes of the run.
        plan: the strategy.
        settings: the server's settings.
        reporter: is notified of every round.
    """

    collector: Collector
    nodes: Nodes
    plan: Plan
    settings: ServerSettings
    reporter: Reporter

    def run(self, model: GlobalModel, record: RunRecord, first: int = 1) -> None:
        """Train all rounds from `first` on, or until the run is to stop; store the new arrays in `model`.

        Raises:
            DataError: a round cannot be written to disk.
            TrainingFailedError: a round did not receive enough updates.
        """
        for number in range(first, self.settings.num_rounds + 1):
            if record.stopped:
                return
            if self._has_spent_epsilon():
                # Models of this round that were sent before a crash count as well, so that the previous round
                # could not know it.
                self._stop_early(number, record)
                return
            self.collector.news = record.news
            report = self._run_round(number, model, record)
            self.nodes.activity.begin("checkpoint", number)
            report = record.keep(report, model.arrays, self.plan.state())
            self.reporter.on_round(report)
            if number == first:
                warn_of_unmeasured(report, self.settings)

    def _has_spent_epsilon(self) -> bool:
        """Whether one more model would spend more than MAX_EPSILON."""
        limit = self.settings.max_epsilon
        return bool(limit) and self.plan.privacy is not None and self.plan.privacy.look_ahead() > limit

    def _stop_early(self, number: int, record: RunRecord) -> None:
        """End a resumed run before a round.

        Raises:
            TrainingFailedError: the round is the first one, so there is no final model.
        """
        if number == 1:
            raise TrainingFailedError(
                f"MAX_EPSILON={self.settings.max_epsilon:g}: already spent by models of round 1 that were"
                " sent and lost; expected a larger one, or RESUME=never to start a new run"
            )
        record.stop(EPSILON)

    def _run_round(self, number: int, model: GlobalModel, record: RunRecord) -> RoundReport:
        """Run one round: train, evaluate, and store the new arrays in `model`."""
        started = time.monotonic()
        trained = Replies()
        aggregate_s = self._train(number, model, trained)
        if self.plan.privacy is not None:
            record.note_release(self.plan.privacy.noise_multiplier)
        evaluated = Replies()
        self.collector.collect(MessageType.EVALUATE, number, 0, evaluated)
        was_asked = evaluated.wanted or not evaluated.present
        if was_asked and not evaluated.admitted:
            warn("no evaluation was admitted", round=number, reason=evaluated.explain())
        pass_evaluation(self.plan, number, evaluated.in_order())
        privacy = None if self.plan.privacy is None else self.plan.privacy.spend()
        is_last = number == self.settings.num_rounds
        nodes, only_evaluated = trained.describe_nodes(evaluated)
        return RoundReport(
            round=number,
            rounds=self.settings.num_rounds,
            learning_rate=trained.learning_rate or self.settings.learning_rate_in(number),
            train=StepReport.average(trained.in_order()),
            evaluate=StepReport.average(evaluated.in_order()),
            nodes=nodes,
            only_evaluated=only_evaluated,
            rejected=[*trained.list_rejections("train"), *evaluated.list_rejections("evaluate")],
            undefined=[*trained.list_undefined("train"), *evaluated.list_undefined("evaluate")],
            missing=_merge(trained.list_missing(), evaluated.list_missing()),
            left_out=_merge(trained.list_left_out(), evaluated.list_left_out()),
            privacy=privacy,
            seconds=Seconds(
                train=round(trained.seconds, 4),
                aggregate=round(aggregate_s, 4),
                evaluate=round(evaluated.seconds, 4),
                checkpoint=0.0,
                total=round(time.monotonic() - started, 4),
            ),
            is_complete=evaluated.are_complete(self.nodes.number),
            membership=self.nodes.membership,
            time=datetime.now(UTC).isoformat(timespec="seconds"),
            stopped=EPSILON if not is_last and self._has_spent_epsilon() else None,
        )

    def _train(self, number: int, model: GlobalModel, replies: Replies) -> float:
        """Collect and aggregate updates; a retry keeps the updates that were already admitted.

        Args:
            number: the number of the round.
            model: receives the new arrays; unchanged if the round fails.
            replies: receives the replies.

        Returns:
            How long the aggregation took, in seconds.
        """
        before = ""
        for attempt in itertools.count():
            self.collector.collect(MessageType.TRAIN, number, attempt, replies)
            started = time.monotonic()
            self.nodes.activity.begin("aggregate", number)
            try:
                with self.plan.undone_on_failure():
                    model.arrays = self._aggregate(number, model, replies)
            # Flower's strategies raise all of these for updates that they cannot aggregate.
            except (ValueError, ArithmeticError, AppExitException) as error:
                self._prepare_retry(_Failure(number, attempt + 1, str(error), before), replies)
                before = str(error)
            else:
                replies.drop_arrays()
                break
        return time.monotonic() - started

    def _aggregate(self, number: int, model: GlobalModel, replies: Replies) -> ArrayRecord:
        """Return the new global arrays.

        Raises:
            ValueError: too few updates were admitted, or the strategy cannot aggregate them.
        """
        least = self._least_updates(replies)
        if len(replies.admitted) < least:
            raise ValueError(f"{len(replies.admitted)} updates admitted, {least} needed: {replies.explain()}")
        return aggregate(self.plan, model, number, replies.in_order())

    def _prepare_retry(self, failure: "_Failure", replies: Replies) -> None:
        """Wait for nodes before a round is retried.

        Raises:
            TrainingFailedError: no attempts are left, or another one would fail in the same way.
        """
        if failure.attempts == _ATTEMPTS or not self._can_differ(replies):
            raise TrainingFailedError(failure.describe())
        failure.warn()
        self.nodes.activity.begin("waiting for nodes", failure.round)
        self.nodes.await_any(self.settings.least_updates, self.settings.lease_grace)

    def _can_differ(self, replies: Replies) -> bool:
        """Whether another attempt may receive enough updates: a node was lost, has left or was not asked."""
        present = self.nodes.participants()
        least = self.settings.least_updates
        failed = sum(who.name in replies.failed for who in present)
        if max(self.nodes.number, len(present), least) - failed < self._least_updates(replies):
            return False
        return bool(replies.missing or len(present) < least or any(map(replies.can_use, present)))

    def _least_updates(self, replies: Replies) -> int:
        """Return how many updates the round needs.

        A strategy that samples fewer nodes than MIN_UPDATES lowers the number; nodes that have left do not.
        """
        least = self.settings.least_updates
        if replies.present >= least:
            least = min(least, replies.wanted)
        return max(self.plan.least_nodes, least)


@dataclass(frozen=True)
class _Failure:
    """A failed attempt at a round.

    Attributes:
        round: its number.
        attempts: how many there were, this one included.
        cause: why this one failed.
        before: why the one before failed; empty for the first.
    """

    round: int
    attempts: int
    cause: str
    before: str

    def describe(self) -> str:
        """Return the error for a round that is not retried."""
        times = f" {self.attempts} times, the last time" if self.attempts > 1 else ""
        return f"round {self.round} failed{times}: {self.cause}"

    def warn(self) -> None:
        """Log that the round is retried, with the cause unless the attempt before had the same."""
        if self.cause == self.before:
            warn("round failed for the same cause, retrying", round=self.round, attempt=self.attempts)
        else:
            warn("round failed, retrying", round=self.round, attempt=self.attempts, cause=self.cause)


def _merge(trained: Iterable[AskedNode], evaluated: Iterable[AskedNode]) -> list[AskedNode]:
    """Return the nodes of both steps, each once, sorted by name."""
    nodes = {node.name: node for node in (*trained, *evaluated)}
    return sorted(nodes.values(), key=lambda node: node.name)
