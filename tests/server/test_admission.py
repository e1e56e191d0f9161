"""The door that every reply passes: each fault by its words, and the averages behind it."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from server import admission
from server.model import Layout
from tests.server.nodes import GOOD, NullNode, Values, pack

LAYOUT = Layout(
    arrays={"0.weight": ("float32", (2, 3)), "0.bias": ("float32", (3,)), "steps": ("int64", (1,))},
    trained=frozenset(("0.weight", "0.bias")),
    metrics=frozenset(("loss", "accuracy")),
)


def model(**replaced: NDArray[Any] | None) -> Values:
    """Give a good set of arrays, in which some are replaced, or left out where None is given."""
    values: dict[str, NDArray[Any] | None] = {
        "0.weight": np.ones((2, 3), np.float32),
        "0.bias": np.ones(3, np.float32),
        "steps": np.ones(1, np.int64),
        **{name.replace("_", "."): value for name, value in replaced.items()},
    }
    return {name: value for name, value in values.items() if value is not None}


def update(values: Mapping[str, NDArray[Any]], metrics: Mapping[str, Any] = GOOD) -> RecordDict:
    return RecordDict({"arrays": pack(values), "metrics": MetricRecord(dict(metrics))})


def test_a_good_update_is_admitted() -> None:
    assert admission.find_fault_of_update(update(model()), LAYOUT) is None


def test_arrays_may_come_in_another_order() -> None:
    shuffled = dict(reversed(model().items()))
    assert admission.find_fault_of_update(update(shuffled), LAYOUT) is None


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (model(**{"0_bias": None}), "array '0.bias' is missing"),
        (model(extra=np.ones(1, np.float32)), "array 'extra' is not in the model"),
        (model(**{"0_bias": np.ones(1, np.float32)}), "array '0.bias' has shape (1,), expected (3,)"),
        (model(**{"0_bias": np.ones((3, 1), np.float32)}), "array '0.bias' has shape (3, 1), expected (3,)"),
        (
            model(**{"0_weight": np.ones((3, 2), np.float32)}),
            "array '0.weight' has shape (3, 2), expected (2, 3)",
        ),
        (model(**{"0_bias": np.ones(3, np.float64)}), "array '0.bias' has dtype float64, expected float32"),
        (model(steps=np.ones(1, np.int32)), "array 'steps' has dtype int32, expected int64"),
        (
            model(**{"0_bias": np.array([0, np.nan, 0], np.float32)}),
            "array '0.bias' has values that are not finite",
        ),
        (
            model(**{"0_weight": np.full((2, 3), -np.inf, np.float32)}),
            "array '0.weight' has values that are not finite",
        ),
    ],
)
def test_arrays_that_are_not_the_models_are_refused_by_name(values: Values, words: str) -> None:
    assert admission.find_fault_of_update(update(values), LAYOUT) == words


def test_bytes_that_are_no_array_are_refused() -> None:
    record = pack(model())
    record["0.bias"] = Array(dtype="float32", shape=(3,), stype="numpy.ndarray", data=b"\x93NUMPY\x01\x00")
    content = RecordDict({"arrays": record, "metrics": MetricRecord(dict(GOOD))})
    fault = admission.find_fault_of_update(content, LAYOUT)
    assert fault is not None
    assert fault.startswith("array '0.bias' cannot be read: ")


@pytest.mark.parametrize(
    ("metrics", "words"),
    [
        ({"loss": 0.5, "num-examples": 10}, "metric 'accuracy' is missing"),
        ({"loss": 0.5, "accuracy": 0.5}, "metric 'num-examples' is missing"),
        (GOOD | {"f1": 0.5}, "metric 'f1' is not one of accuracy, loss, num-examples"),
        (GOOD | {"loss": float("nan")}, "metric 'loss' is nan, expected a finite number"),
        (GOOD | {"loss": float("inf")}, "metric 'loss' is inf, expected a finite number"),
        (GOOD | {"loss": [0.5, 0.25]}, "metric 'loss' is [0.5, 0.25], expected a number"),
        (GOOD | {"accuracy": [0.5, 0.25]}, "metric 'accuracy' is [0.5, 0.25], expected a number"),
        (GOOD | {"num-examples": [10]}, "metric 'num-examples' is [10], expected a number"),
        (GOOD | {"num-examples": math.nan}, "num-examples is nan, expected a positive number up to 2**53"),
        (GOOD | {"num-examples": 0}, "num-examples is 0, expected a positive number up to 2**53"),
        (GOOD | {"num-examples": -1}, "num-examples is -1, expected a positive number up to 2**53"),
        (GOOD | {"num-examples": 1e308}, "num-examples is 1e+308, expected a positive number up to 2**53"),
    ],
)
def test_metrics_that_cannot_be_averaged_are_refused_by_name(metrics: Mapping[str, Any], words: str) -> None:
    assert admission.find_fault_of_update(update(model(), metrics), LAYOUT) == words
    evaluated = RecordDict({"metrics": MetricRecord(dict(metrics))})
    assert admission.find_fault_of_metrics(evaluated, LAYOUT) == words


def test_an_update_has_exactly_one_record_of_each_kind() -> None:
    twice = update(model())
    twice["more"] = pack(model())
    assert admission.find_fault_of_update(twice, LAYOUT) == "2 array records, expected 1"
    assert admission.find_fault_of_update(RecordDict(), LAYOUT) == "0 array records, expected 1"
    nothing = RecordDict({"arrays": pack(model())})
    assert admission.find_fault_of_update(nothing, LAYOUT) == "0 metric records, expected 1"
    measured_twice = update(model())
    measured_twice["more"] = MetricRecord(dict(GOOD))
    assert admission.find_fault_of_update(measured_twice, LAYOUT) == "2 metric records, expected 1"


def test_means_are_weighted_by_examples() -> None:
    nodes: list[dict[str, float]] = [
        {"loss": 1.0, "accuracy": 0.5, "num-examples": 10},
        {"loss": 2.0, "accuracy": 1.0, "num-examples": 30},
    ]
    # By hand: (1 * 10 + 2 * 30) / 40 and (0.5 * 10 + 1 * 30) / 40.
    assert admission.weighted_means(nodes) == {"loss": 1.75, "accuracy": 0.875, "num_examples": 40}


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_metric_that_is_undefined_at_a_node_costs_neither_its_update_nor_its_evaluation(
    value: float,
) -> None:
    metrics = GOOD | {"accuracy": value}
    assert admission.find_fault_of_update(update(model(), metrics), LAYOUT) is None
    evaluated = RecordDict({"metrics": MetricRecord(dict(metrics))})
    assert admission.find_fault_of_evaluation(evaluated, LAYOUT) is None
    assert admission.split_metrics(evaluated) == ({"loss": 0.5, "num-examples": 10}, ["accuracy"])


def test_the_mean_of_a_metric_is_over_the_nodes_that_have_it() -> None:
    nodes: list[dict[str, float]] = [
        {"loss": 1.0, "num-examples": 20},
        {"loss": 2.0, "auc": 0.5, "num-examples": 10},
        {"loss": 4.0, "auc": 1.0, "num-examples": 30},
    ]
    # By hand: (1 * 20 + 2 * 10 + 4 * 30) / 60 and (0.5 * 10 + 1 * 30) / 40.
    means = admission.weighted_means(nodes)
    assert means == {"loss": pytest.approx(160 / 60), "auc": 0.875, "num_examples": 60}


def test_a_metric_that_no_node_has_is_absent() -> None:
    nodes: list[dict[str, float]] = [{"loss": 1.0, "num-examples": 20}, {"loss": 2.0, "num-examples": 20}]
    assert admission.weighted_means(nodes) == {"loss": 1.5, "num_examples": 40}


@given(
    st.lists(
        st.tuples(st.floats(allow_nan=False, allow_infinity=False), st.integers(1, 2**53)),
        min_size=1,
        max_size=20,
    )
)
def test_a_mean_of_finite_metrics_is_finite_and_between_them(nodes: list[tuple[float, int]]) -> None:
    means = admission.weighted_means([{"loss": loss, "num-examples": count} for loss, count in nodes])
    losses = [loss for loss, _ in nodes]
    assert min(losses) <= means["loss"] <= max(losses)


def describe(**said: Any) -> ConfigRecord:
    return NullNode(description={name.replace("_", "-"): value for name, value in said.items()}).describe()


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"task": "other"}, "its task is other, expected null"),
        ({"metrics": ["accuracy", "f1"]}, "its metrics is f1, expected loss"),
        ({"metrics": ["accuracy"]}, "its metrics is of 1 entries, expected 2"),
        (
            {"arrays": ['["0.weight", "float32", [2, 4], true]']},
            (
                'its arrays is ["0.weight", "float32", [2, 4], true],'
                ' expected ["0.weight", "float32", [2, 3], true]'
            ),
        ),
        ({"labels_sha256": "cd"}, "its labels-sha256 is cd, expected ab"),
    ],
)
def test_a_node_that_differs_is_told_in_what(said: dict[str, Any], words: str) -> None:
    assert admission.find_difference(describe(**said), describe(), is_shared=True) == words


def test_sites_with_data_of_their_own_may_have_other_labels() -> None:
    assert admission.find_difference(describe(labels_sha256="cd"), describe(), is_shared=False) is None


def test_the_amount_of_data_may_differ_between_nodes() -> None:
    assert admission.find_difference(describe(train_examples=5), describe(), is_shared=True) is None


def test_a_description_that_lacks_something_differs() -> None:
    other = describe()
    del other["metrics"]
    assert admission.find_difference(other, describe(), is_shared=True) == "its metrics is missing"


def test_arrays_and_metrics_are_found_whatever_their_record_is_called() -> None:
    content = RecordDict(
        {"my-model": ArrayRecord({}), "numbers": MetricRecord({"loss": 1.5, "per-class": [1, 2]})}
    )
    assert admission.arrays_of(content) is content["my-model"]
    assert admission.metrics_of(content) == {"loss": 1.5}


def test_an_evaluation_that_brings_arrays_is_refused() -> None:
    content = RecordDict({"arrays": ArrayRecord(), "metrics": MetricRecord({"loss": 1.0, "num-examples": 1})})
    assert admission.find_fault_of_evaluation(content, LAYOUT) == "1 array records, expected 0"
