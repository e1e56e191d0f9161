"""Pure functions that decide which replies may be averaged, and why others are rejected."""

import math
from collections.abc import Mapping

import numpy as np
from flwr.app import Array, ArrayRecord, Message, MessageType, MetricRecord, RecordDict
from numpy.typing import NDArray

from fedmx import arrays
from server.leases import Participant
from server.model import Layout
from server.update import NUM_EXAMPLES, Update, records_of

_LOSS = "loss"
# Sums of weights must stay finite: an infinite one turns every average into zeros.
_MOST_EXAMPLES = 2**53


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
    return Update.unpack(participant, reply.content)


def find_problem_in_update(content: RecordDict, layout: Layout) -> str | None:
    """Return why an update may not be averaged; None if it may."""
    records = records_of(content, ArrayRecord)
    if len(records) != 1:
        return f"{len(records)} array records, expected 1"
    return find_problem_in_arrays(records[0], layout) or find_problem_in_metrics(content, layout)


def find_problem_in_evaluation(content: RecordDict, layout: Layout) -> str | None:
    """Return why the reply to an evaluate message may not be averaged; None if it may."""
    if extra := len(records_of(content, ArrayRecord)):
        return f"{extra} array records, expected 0"
    return find_problem_in_metrics(content, layout)


def find_problem_in_metrics(content: RecordDict, layout: Layout) -> str | None:
    """Return why a reply's metrics may not be averaged; None if they may."""
    records = records_of(content, MetricRecord)
    if len(records) != 1:
        return f"{len(records)} metric records, expected 1"
    metrics = records[0]
    expected = layout.metrics | {NUM_EXAMPLES}
    for name in sorted(expected - set(metrics)):
        return f"metric {name!r} is missing"
    for name in sorted(set(metrics) - expected):
        return f"metric {name!r} is not one of {', '.join(sorted(expected))}"
    problems = (_find_problem_in_metric(name, value) for name, value in metrics.items())
    return next(filter(None, problems), None)


def find_problem_in_arrays(record: Mapping[str, Array], layout: Layout) -> str | None:
    """Return why arrays do not fit this model; None if they do."""
    for name in layout.arrays:
        if name not in record:
            return f"array {name!r} is missing"
    for name in record:
        if name not in layout.arrays:
            return f"array {name!r} is not in the model"
    for name, (dtype, shape) in layout.arrays.items():
        try:
            problem = _find_problem_in_values(arrays.view(record[name]), dtype, shape)
        except ValueError as error:
            problem = f"cannot be read: {error}"
        if problem:
            return f"array {name!r} {problem}"
    return None


def _find_problem_in_metric(name: str, value: object) -> str | None:
    if not isinstance(value, int | float):
        return f"metric {name!r} is {value}, expected a number"
    if name == NUM_EXAMPLES and not 0 < value <= _MOST_EXAMPLES:
        return f"{name} is {value}, expected a positive number up to 2**53"
    # Other metrics may be undefined at a node, as recall is if the node has no positive examples.
    if name == _LOSS and not math.isfinite(value):
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
