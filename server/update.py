"""One admitted reply of a node, unpacked once: what is averaged, and with which weight."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

from flwr.app import ArrayRecord, ConfigRecord, MetricRecord, RecordDict

from fedmx.class_counts import RECORD, ClassCounts
from server.leases import Participant

R = TypeVar("R", ArrayRecord, MetricRecord, ConfigRecord)

LOSS = "loss"
"""A metric that most tasks measure; if it is measured, it must be finite."""

NUM_EXAMPLES = "num-examples"
"""The metric that weighs a reply against the others. Flower's strategies read it under this name."""


@dataclass(frozen=True)
class Update:
    """A reply that was admitted: to a train message with arrays, to an evaluate message without.

    Attributes:
        participant: the node that sent it.
        arrays: by structural name; they are dropped once they are aggregated, since they are a whole model.
        metrics: by name, undefined ones included, `num-examples` not.
        num_examples: its weight in every average; a float where a task weighs its evaluation itself.
        counts: of its examples by class, in an evaluation of a classification; None otherwise.
        was_clipped: whether it was longer than differential privacy allows.
    """

    participant: Participant
    arrays: ArrayRecord
    metrics: Mapping[str, float]
    num_examples: float
    counts: ClassCounts | None = None
    was_clipped: bool = False

    @classmethod
    def unpack(cls, participant: Participant, content: RecordDict, classes: int = 0) -> "Update":
        """Unpack the content of a reply that passed `admission`.

        Args:
            participant: the node that sent it.
            content: its records.
            classes: the number of classes that its evaluation counts; 0: none.
        """
        (metrics,) = records_of(content, MetricRecord)
        numbers = {name: value for name, value in metrics.items() if not isinstance(value, list)}
        arrays = next(iter(records_of(content, ArrayRecord)), ArrayRecord())
        weight = numbers.pop(NUM_EXAMPLES)
        counted = content.config_records.get(RECORD) if classes else None
        counts = None if counted is None else ClassCounts.from_record(counted, classes, weight)
        return cls(participant, arrays, numbers, weight, counts)

    @cached_property
    def all_metrics(self) -> Mapping[str, float]:
        """The metrics, and those that are computed from its counts unless the task returns them itself."""
        derived = {} if self.counts is None else self.counts.measure()
        return {**self.metrics, **{name: derived[name] for name in derived if name not in self.metrics}}

    @property
    def defined_metrics(self) -> dict[str, float]:
        """The metrics that have a finite value."""
        return {name: value for name, value in self.all_metrics.items() if math.isfinite(value)}

    @property
    def undefined_metrics(self) -> list[str]:
        """Names of the others: a rate of positive examples is undefined where there are none."""
        return sorted(name for name, value in self.all_metrics.items() if not math.isfinite(value))


def records_of(content: RecordDict, kind: type[R]) -> list[R]:
    """Return the records of one kind."""
    return [record for record in content.values() if isinstance(record, kind)]


def weighted_means(updates: Iterable[Update]) -> dict[str, float]:
    """Average each metric over the nodes where it is defined, weighted by examples.

    Those that are computed from counts are not among them.
    """
    values: dict[str, list[tuple[float, float]]] = {}
    for update in updates:
        for name, value in update.metrics.items():
            if math.isfinite(value):
                values.setdefault(name, []).append((value, update.num_examples))
    return {name: _weighted_mean(pairs) for name, pairs in values.items()}


def _weighted_mean(values: list[tuple[float, float]]) -> float:
    total = sum(weight for _, weight in values)
    mean = sum(value * (weight / total) for value, weight in values)
    # Rounding must not lead out of the range: beyond the largest number is infinity, which is not JSON.
    return min(max(mean, min(values)[0]), max(values)[0])
