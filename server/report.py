"""What is reported of a run: its facts at the start, each of its rounds, and its outcome."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from fedmx.class_counts import add_all, measure_all
from fedmx.link.request import Transfer
from server.leases import Membership
from server.nodes import Nodes
from server.update import LOSS, Update, weighted_means

# A matrix of each node is in every line of the history.
_MOST_CLASSES_PER_NODE = 20


@dataclass(frozen=True)
class Opening:
    """A run that has its folder and waits for nodes.

    Attributes:
        run_id: its name.
        folder: its folder, which has `run.json`.
        is_resumed: whether an earlier server began it.
        settings: the server's, by environment name, as `run.json` has them.
        nodes: the nodes of the run, and what it does at the moment.
    """

    run_id: str
    folder: Path
    is_resumed: bool
    settings: Mapping[str, object]
    nodes: Nodes


@dataclass(frozen=True)
class RunFacts:
    """A run that starts or is resumed.

    Attributes:
        run_id: its name.
        folder: its folder, which has `run.json`.
        first_round: the round that comes next.
        nodes: how many take part.
        is_resumed: whether an earlier server has begun it.
        settings: the server's, by environment name, as `run.json` has them.
    """

    run_id: str
    folder: Path
    first_round: int
    nodes: int
    is_resumed: bool
    settings: Mapping[str, object]


@dataclass(frozen=True)
class StepReport:
    """The averages of one step, over the nodes that were admitted, or over one of them.

    Attributes:
        num_examples: of all nodes together, or the sum of the weights that their tasks returned.
        metrics: the means by name, weighted by it, and what the sum of their counts defines; `loss` is among
            them if the nodes measure it.
        confusion: the confusion matrix, labels down and predictions across; None if a node has counted none.
    """

    num_examples: float
    metrics: Mapping[str, float]
    confusion: list[list[int]] | None = None

    @classmethod
    def average(cls, updates: Sequence[Update]) -> "StepReport | None":
        """Average the metrics of updates and sum their counts; None where there are no updates."""
        if not updates:
            return None
        counts = add_all(update.counts for update in updates)
        own = {name for update in updates for name in update.metrics}
        derived = {name: value for name, value in measure_all([counts]).items() if name not in own}
        return cls(
            sum(update.num_examples for update in updates),
            {**weighted_means(updates), **derived},
            None if counts is None else counts.confusion.tolist(),
        )

    @property
    def loss(self) -> float | None:
        """The mean loss; None if the nodes do not measure one."""
        return self.metrics.get(LOSS)


@dataclass(frozen=True)
class NodeReport:
    """One node that trained or was evaluated in a round, over all attempts.

    Attributes:
        name: the node's name.
        site: the owner of its certificate; None on a link without certificates.
        partition: the partition that it works on; None if each site has its own data.
        examples: the number of examples that it trained on; None if its training was not admitted.
        metrics: the metrics of its training, without undefined ones.
        evaluate: its evaluation, without undefined metrics; None if none was admitted. With many classes, the
            confusion matrix is left out.
        seconds: from the train request to the reply.
        bytes_up: bytes that the node sent; None where they are not measured, as on Flower's engines.
        bytes_down: bytes that were sent to the node; None likewise.
    """

    name: str
    site: str | None
    partition: int | None
    examples: float | None
    metrics: Mapping[str, float]
    evaluate: StepReport | None
    seconds: float
    bytes_up: int | None
    bytes_down: int | None

    @classmethod
    def build(
        cls,
        trained: Update | None,
        evaluated: Update | None,
        trainings: Sequence[Transfer],
        evaluations: Sequence[Transfer],
    ) -> "NodeReport":
        """Build it from a node's admitted replies, at least one, and all of its transfers."""
        who = next(update.participant for update in (trained, evaluated) if update is not None)
        transfers = [*trainings, *evaluations]
        return cls(
            who.name,
            who.site,
            who.partition,
            None if trained is None else trained.num_examples,
            {} if trained is None else trained.defined_metrics,
            None if evaluated is None else _describe_evaluation(evaluated),
            round(math.fsum(transfer.seconds for transfer in trainings), 4),
            sum(transfer.bytes_up for transfer in transfers) if transfers else None,
            sum(transfer.bytes_down for transfer in transfers) if transfers else None,
        )


def _describe_evaluation(evaluated: Update) -> StepReport | None:
    report = StepReport.average([evaluated])
    if report is None or report.confusion is None or len(report.confusion) <= _MOST_CLASSES_PER_NODE:
        return report
    return replace(report, confusion=None)


@dataclass(frozen=True)
class AskedNode:
    """A node that was asked in a round.

    Attributes:
        name: its name.
        site: the owner of its certificate; None on a link without certificates.
        partition: the partition that it works on; None if each site has its own data.
    """

    name: str
    site: str | None
    partition: int | None


@dataclass(frozen=True)
class Rejection(AskedNode):
    """The newest reply of a node that was rejected in a step."""

    step: str
    reason: str


@dataclass(frozen=True)
class Undefined:
    """The metrics that have no finite value at a node in a step."""

    name: str
    step: str
    metrics: list[str]


@dataclass(frozen=True)
class Seconds:
    """How long the parts of a round took."""

    train: float
    aggregate: float
    evaluate: float
    checkpoint: float
    total: float


@dataclass(frozen=True)
class RoundReport:
    """A finished round.

    Attributes:
        round: its number, from 1.
        rounds: the number of rounds of the run.
        learning_rate: the nodes' learning rate, from LEARNING_RATE, LR_SCHEDULE and the strategy.
        train: averages of the nodes' training.
        evaluate: averages of the evaluation of the new model; None where no evaluation was admitted.
        nodes: the nodes with an admitted update, sorted by partition, then name.
        only_evaluated: the other nodes with an admitted evaluation, in the same order.
        rejected: the replies that were rejected, with their nodes and reasons.
        undefined: metrics without a finite value.
        missing: the nodes that did not reply, sorted by name.
        left_out: the nodes that a quorum went on without, sorted by name.
        privacy: epsilon and delta spent so far; None without differential privacy.
        seconds: how long its parts took.
        is_complete: whether the evaluation covers every partition, or every site.
        membership: the nodes that take part, admitted or not.
        time: when it ended, in ISO 8601.
        stopped: why the run ends after it although rounds are left: target, patience or epsilon; else None.
    """

    round: int
    rounds: int
    learning_rate: float
    train: StepReport | None
    evaluate: StepReport | None
    nodes: list[NodeReport]
    only_evaluated: list[NodeReport]
    rejected: list[Rejection]
    undefined: list[Undefined]
    missing: list[AskedNode]
    left_out: list[AskedNode]
    privacy: Mapping[str, float] | None
    seconds: Seconds
    is_complete: bool
    membership: Membership
    time: str
    stopped: str | None = None

    def find_metric(self, name: str) -> float | None:
        """Return a metric of the evaluation; None if it is undefined or a part of the test set is missing."""
        if self.evaluate is None or not self.is_complete:
            return None
        return self.evaluate.metrics.get(name)

    def to_line(self) -> dict[str, Any]:
        """Return it as `history.jsonl` has it."""
        line = asdict(self, dict_factory=_leave_out_missing)
        for name in ("rounds", "is_complete", "membership"):
            del line[name]
        for name in ("privacy", "stopped"):
            if line[name] is None:
                del line[name]
        return line


def _leave_out_missing(items: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return the attributes of a dataclass, but no confusion matrix where nothing was counted."""
    return {name: value for name, value in items if name != "confusion" or value is not None}


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
        status: finished, failed or interrupted.
        reason: why it failed.
        exit_code: of the server, where it failed.
        model: the file of the final model, where it finished.
        model_sha256: the model's digest, where it finished.
        is_evaluated: whether at least one round was evaluated.
        stopped: why it finished although rounds were left: target, patience or epsilon; else None.
        best: round, metric and value of the best round, if any was evaluated on all of the test set.
    """

    status: str
    reason: str | None = None
    exit_code: int | None = None
    model: Path | None = None
    model_sha256: str | None = None
    is_evaluated: bool = True
    stopped: str | None = None
    best: Mapping[str, Any] | None = None
