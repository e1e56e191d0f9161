"""Which replies may be averaged, and why one may not; and which nodes belong together. Plain functions."""

import math
from collections.abc import Mapping
from typing import TypeGuard, TypeVar

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict
from numpy.typing import NDArray

from fedmx import arrays
from server.model import Layout

R = TypeVar("R", ArrayRecord, MetricRecord, ConfigRecord)

NUM_EXAMPLES = "num-examples"
_LOSS = "loss"
_LABELS = "labels-sha256"
_OF_ALL = ("task", "metrics", "arrays", _LABELS)
_MOST_EXAMPLES = 2**53  # sums of weights stay finite: an infinite one turns every average into zeros


def find_fault_of_update(content: RecordDict, layout: Layout) -> str | None:
    """Say why an update may not be averaged, or give None."""
    records = records_of(content, ArrayRecord)
    if len(records) != 1:
        return f"{len(records)} array records, expected 1"
    return find_fault_of_arrays(records[0], layout) or find_fault_of_metrics(content, layout)


def find_fault_of_evaluation(content: RecordDict, layout: Layout) -> str | None:
    """Say why the reply to an evaluation may not be averaged, or give None."""
    if extra := len(records_of(content, ArrayRecord)):
        return f"{extra} array records, expected 0"
    return find_fault_of_metrics(content, layout)


def find_fault_of_metrics(content: RecordDict, layout: Layout) -> str | None:
    """Say why a reply's metrics may not be averaged, or give None."""
    records = records_of(content, MetricRecord)
    if len(records) != 1:
        return f"{len(records)} metric records, expected 1"
    metrics = records[0]
    expected = layout.metrics | {NUM_EXAMPLES}
    for name in sorted(expected - set(metrics)):
        return f"metric {name!r} is missing"
    for name in sorted(set(metrics) - expected):
        return f"metric {name!r} is not one of {', '.join(sorted(expected))}"
    return next(filter(None, (_find_fault_of_metric(name, value) for name, value in metrics.items())), None)


def find_fault_of_arrays(record: Mapping[str, Array], layout: Layout) -> str | None:
    """Say why a set of arrays is none of this model, or give None."""
    for name in layout.arrays:
        if name not in record:
            return f"array {name!r} is missing"
    for name in record:
        if name not in layout.arrays:
            return f"array {name!r} is not in the model"
    for name, (dtype, shape) in layout.arrays.items():
        try:
            fault = _find_fault_of_values(arrays.view(record[name]), dtype, shape)
        except ValueError as error:
            fault = f"cannot be read: {error}"
        if fault:
            return f"array {name!r} {fault}"
    return None


def records_of(content: RecordDict, kind: type[R]) -> list[R]:
    """Give the records of one kind."""
    return [record for record in content.values() if isinstance(record, kind)]


def arrays_of(content: RecordDict) -> ArrayRecord:
    """Give the only array record of a reply."""
    return records_of(content, ArrayRecord)[0]


def metrics_of(content: RecordDict) -> dict[str, float]:
    """Give the only metric record of a reply, as numbers."""
    record = records_of(content, MetricRecord)[0]
    return {name: value for name, value in record.items() if not isinstance(value, list)}


def split_metrics(content: RecordDict) -> tuple[dict[str, float], list[str]]:
    """Return a reply's metrics that are finite, and the names of the others, which are undefined."""
    metrics = metrics_of(content)
    defined = {name: value for name, value in metrics.items() if math.isfinite(value)}
    return defined, sorted(metrics.keys() - defined.keys())


def weighted_means(metrics: list[dict[str, float]]) -> dict[str, float]:
    """Average each metric over the nodes that have it, weighted by examples.

    Args:
        metrics: of each node, `num-examples` among them; all are finite.

    Returns:
        The means by name, and `num_examples`, the sum over all nodes.
    """
    names = dict.fromkeys(name for node in metrics for name in node if name != NUM_EXAMPLES)
    means = {
        name: _weighted_mean([(node[name], node[NUM_EXAMPLES]) for node in metrics if name in node])
        for name in names
    }
    return {**means, "num_examples": sum(node[NUM_EXAMPLES] for node in metrics)}


def find_difference(description: ConfigRecord, reference: ConfigRecord, *, is_shared: bool) -> str | None:
    """Say how a node differs from the federation, or give None.

    Args:
        description: what the node says of itself.
        reference: what the federation's nodes say.
        is_shared: whether all nodes divide one dataset, whose labels must then agree.
    """
    for key in _OF_ALL:
        if key == _LABELS and not is_shared:
            continue
        if key not in description:
            return f"its {key} is missing"
        ours, theirs = reference.get(key), description[key]
        if ours != theirs:
            return f"its {key} is {_first_difference(theirs, ours)}"
    return None


def identity_of(description: ConfigRecord) -> dict[str, str | list[str]]:
    """Give the part of a description that all nodes of a federation have in common."""
    texts = {key: description.get(key) for key in _OF_ALL}
    return {key: text for key, text in texts.items() if _is_text(text)}


def _weighted_mean(values: list[tuple[float, float]]) -> float:
    total = sum(weight for _, weight in values)
    mean = sum(value * (weight / total) for value, weight in values)
    # Rounding must not lead out of the range: beyond the largest number is infinity, which is not JSON.
    return min(max(mean, min(values)[0]), max(values)[0])


def _find_fault_of_metric(name: str, value: object) -> str | None:
    if not isinstance(value, int | float):
        return f"metric {name!r} is {value}, expected a number"
    if name == NUM_EXAMPLES and not 0 < value <= _MOST_EXAMPLES:
        return f"{name} is {value}, expected a positive number up to 2**53"
    # Others may be undefined at a site, as a rate of positive examples is where there is none.
    if name == _LOSS and not math.isfinite(value):
        return f"metric {name!r} is {value}, expected a finite number"
    return None


def _is_text(value: object) -> TypeGuard[str | list[str]]:
    return isinstance(value, str) or (
        isinstance(value, list) and all(isinstance(item, str) for item in value)
    )


def _first_difference(theirs: object, ours: object) -> str:
    if not isinstance(theirs, list) or not isinstance(ours, list):
        return f"{theirs}, expected {ours}"
    for one, other in zip(theirs, ours, strict=False):
        if one != other:
            return f"{one}, expected {other}"
    return f"of {len(theirs)} entries, expected {len(ours)}"


def _find_fault_of_values(values: NDArray[np.generic], dtype: str, shape: tuple[int, ...]) -> str | None:
    if values.shape != shape:
        return f"has shape {values.shape}, expected {shape}"
    if values.dtype.name != dtype:
        return f"has dtype {values.dtype.name}, expected {dtype}"
    if not np.isfinite(values).all():
        return "has values that are not finite"
    return None
