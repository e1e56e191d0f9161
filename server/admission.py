"""Pure functions that decide which replies may be averaged, and why others are rejected."""

import math
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import cast

import numpy as np
from flwr.app import Array, ArrayRecord, Message, MessageType, MetricRecord, RecordDict
from numpy.typing import NDArray

from fedmx import arrays, parsing
from fedmx.class_counts import RECORD, ClassCounts
from server.layout import Heads, Layout
from server.leases import Participant
from server.update import LOSS, NUM_EXAMPLES, Update, records_of

# Sums of weights must stay finite: an infinite one turns every average into zeros.
_MOST_EXAMPLES = 2**53
_MOST_METRICS = 100
# Numpy checks values without Python's lock. From so many on, two threads are faster.
_LARGE_VALUES = 1 << 20
_THREADS = 2


class RejectedError(ValueError):
    """A reply may not be averaged; the message is the reason."""


def admit(reply: Message, participant: Participant, step: str, layout: Layout) -> Update:
    """Check a reply and unpack it.

    Args:
        reply: the reply to a message of this step.
        participant: the node that sent it.
        step: `train` or `evaluate`.
        layout: the arrays and metrics that replies must contain.

    Raises:
        RejectedError: the reply may not be averaged.
    """
    if reply.has_error():
        raise RejectedError(reply.error.reason or "an error without a reason")
    find_problem = find_problem_in_update if step == MessageType.TRAIN else find_problem_in_evaluation
    if problem := find_problem(reply.content, layout):
        raise RejectedError(problem)
    return Update.unpack(participant, reply.content, layout.classes if step == MessageType.EVALUATE else 0)


def find_problem_in_update(content: RecordDict, layout: Layout) -> str | None:
    """Return why an update may not be averaged; None if it may."""
    records = records_of(content, ArrayRecord)
    if len(records) != 1:
        return f"{len(records)} array records, expected 1"
    for name in layout.frozen:
        if name in records[0]:
            return f"array {name!r} is frozen, expected in no update"
    problem = find_problem_in_arrays(records[0], layout.updated)
    return problem or find_problem_in_metrics(content, MessageType.TRAIN, layout)


def find_problem_in_evaluation(content: RecordDict, layout: Layout) -> str | None:
    """Return why the reply to an evaluate message may not be averaged; None if it may."""
    if extra := len(records_of(content, ArrayRecord)):
        return f"{extra} array records, expected 0"
    problem = find_problem_in_metrics(content, MessageType.EVALUATE, layout)
    return problem or find_problem_in_counts(content, layout)


def find_problem_in_counts(content: RecordDict, layout: Layout) -> str | None:
    """Return why the counts of an evaluation may not be summed; None if they may, or if it has no counts."""
    counts = content.config_records.get(RECORD)
    if counts is None:
        return None
    if not layout.classes:
        return "counts by class, expected none"
    (metrics,) = records_of(content, MetricRecord)
    try:
        ClassCounts.from_record(counts, layout.classes, cast(float, metrics[NUM_EXAMPLES]))
    except ValueError as error:
        return f"counts by class: {error}"
    return None


def find_problem_in_metrics(content: RecordDict, step: str, layout: Layout) -> str | None:
    """Return why the metrics of a reply to a step may not be averaged; None if they may."""
    records = records_of(content, MetricRecord)
    if len(records) != 1:
        return f"{len(records)} metric records, expected 1"
    metrics = records[0]
    if problem := _find_problem_in_names(set(metrics), layout.metrics_of(step)):
        return problem
    # An evaluation may weigh itself by something other than examples; Flower's strategies count these.
    if step == MessageType.TRAIN and isinstance(metrics[NUM_EXAMPLES], float):
        return f"{NUM_EXAMPLES} is {metrics[NUM_EXAMPLES]}, expected an integer"
    problems = (_find_problem_in_metric(name, value) for name, value in metrics.items())
    return next(filter(None, problems), None)


def _find_problem_in_names(found: set[str], described: frozenset[str] | None) -> str | None:
    """Return why a reply may not have metrics of these names; None if it may.

    Args:
        found: the names in the reply.
        described: those in the node's description; None if it may have any.
    """
    expected = {*(described or ()), NUM_EXAMPLES}
    for name in sorted(expected - found):
        return f"metric {name!r} is missing"
    if described is not None:
        for name in sorted(found - expected):
            return f"metric {name!r} is not one of {', '.join(sorted(expected))}"
    if len(found) > _MOST_METRICS:
        return f"{len(found)} metrics, expected at most {_MOST_METRICS}"
    for name in sorted(found):
        if not parsing.is_name(name):
            return f"metric {name!r}: expected at most 64 letters, digits, '.', '_' or '-'"
    return None


def find_problem_in_arrays(record: Mapping[str, Array], heads: Heads) -> str | None:
    """Return why arrays are not those that these heads describe; None if they are."""
    for name in heads:
        if name not in record:
            return f"array {name!r} is missing"
    for name in record:
        if name not in heads:
            return f"array {name!r} is not in the model"
    with ThreadPoolExecutor(_THREADS) as pool:
        are_large = sum(math.prod(shape) for _, shape in heads.values()) > _LARGE_VALUES
        check_all = pool.map if are_large else map
        return next(filter(None, check_all(partial(_find_problem_in_array, record, heads), heads)), None)


def _find_problem_in_array(record: Mapping[str, Array], heads: Heads, name: str) -> str | None:
    try:
        problem = _find_problem_in_values(arrays.view(record[name]), *heads[name])
    except ValueError as error:
        problem = f"cannot be read: {error}"
    return problem and f"array {name!r} {problem}"


def _find_problem_in_metric(name: str, value: object) -> str | None:
    if not isinstance(value, int | float):
        return f"metric {name!r} is {value}, expected a number"
    if name == NUM_EXAMPLES and not 0 < value <= _MOST_EXAMPLES:
        return f"{name} is {value}, expected a positive number up to 2**53"
    # Other metrics may be undefined at a node, as recall is if the node has no positive examples.
    if name == LOSS and not math.isfinite(value):
        return f"metric {name!r} is {value}, expected a finite number"
    return None


def _find_problem_in_values(values: NDArray[np.generic], dtype: str, shape: tuple[int, ...]) -> str | None:
    if values.shape != shape:
        return f"has shape {values.shape}, expected {shape}"
    if values.dtype.name != dtype:
        return f"has dtype {values.dtype.name}, expected {dtype}"
    if not np.isfinite(values).all():
        return "has values that are not finite"
    return None
