"""What is reported of a run: its facts at the start, each of its rounds, and its outcome."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fedmx.link.requests import Transfer
from server.leases import Membership
from server.update import LOSS, Update, weighted_means


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
    """The averages of one step, over the nodes that were admitted.

    Attributes:
        num_examples: of all nodes together, or the sum of the weights that their tasks returned.
        metrics: the means by name, weighted by it; `loss` is among them if the nodes measure it.
    """

    num_examples: float
    metrics: Mapping[str, float]

    @classmethod
    def average(cls, updates: list[Update]) -> "StepReport | None":
        """Average the metrics of updates; None where there are none."""
        if not updates:
            return None
        return cls(sum(update.num_examples for update in updates), weighted_means(updates))

    @property
    def loss(self) -> float | None:
        """The mean loss; None if the nodes do not measure one."""
        return self.metrics.get(LOSS)


@dataclass(frozen=True)
class NodeReport:
    """One node that trained in a round, over all attempts and including its evaluation.

    Attributes:
        name: the node's name.
        partition: the partition that it trained on; None if each site has its own data.
        examples: the number of examples that it trained on.
        metrics: the metrics of its training, without undefined ones.
        seconds: from the train request to the reply.
        bytes_up: bytes that the node sent.
        bytes_down: bytes that were sent to the node.
    """

    name: str
    partition: int | None
    examples: float
    metrics: Mapping[str, float]
    seconds: float
    bytes_up: int
    bytes_down: int

    @classmethod
    def build(cls, update: Update, trainings: list[Transfer], evaluations: list[Transfer]) -> "NodeReport":
        """Build it from an admitted update and all transfers of its node."""
        transfers = [*trainings, *evaluations]
        return cls(
            update.participant.name,
            update.participant.partition,
            update.num_examples,
            update.defined_metrics,
            round(math.fsum(transfer.seconds for transfer in trainings), 4),
            sum(transfer.bytes_up for transfer in transfers),
            sum(transfer.bytes_down for transfer in transfers),
        )


@dataclass(frozen=True)
class Rejection:
    """The newest reply of a node that was rejected in a step."""

    name: str
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
        rejected: the replies that were rejected, with their nodes and reasons.
        undefined: metrics without a finite value.
        missing: names of nodes that did not reply.
        privacy: epsilon and delta spent so far; None without differential privacy.
        seconds: how long its parts took.
        is_complete: whether the evaluation covers every partition, or every site.
        membership: the nodes that take part, admitted or not.
        stopped: why the run ends after it although rounds are left: target, patience or epsilon; else None.
    """

    round: int
    rounds: int
    learning_rate: float
    train: StepReport | None
    evaluate: StepReport | None
    nodes: list[NodeReport]
    rejected: list[Rejection]
    undefined: list[Undefined]
    missing: list[str]
    privacy: Mapping[str, float] | None
    seconds: Seconds
    is_complete: bool
    membership: Membership
    stopped: str | None = None

    def find_metric(self, name: str) -> float | None:
        """Return a metric of the evaluation; None if it is undefined or a part of the test set is missing."""
        if self.evaluate is None or not self.is_complete:
            return None
        return self.evaluate.metrics.get(name)

    def to_line(self) -> dict[str, Any]:
        """Return it as `history.jsonl` has it."""
        line = asdict(self)
        for name in ("rounds", "is_complete", "membership"):
            del line[name]
        for name in ("privacy", "stopped"):
            if line[name] is None:
                del line[name]
        return line


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
