"""Replies unpacked, and their averages."""

import math

import pytest
from flwr.app import ArrayRecord, MetricRecord, RecordDict
from hypothesis import given
from hypothesis import strategies as st

from server.leases import Participant
from server.update import Update, weighted_means

NODE = Participant(7, "a", 0)


def make_update(num_examples: float, **metrics: float) -> Update:
    return Update(NODE, ArrayRecord(), metrics, num_examples)


def test_arrays_and_metrics_are_found_under_any_record_name() -> None:
    metrics = MetricRecord({"loss": 1.5, "num-examples": 4, "per-class": [1, 2]})
    content = RecordDict({"my-model": ArrayRecord({}), "numbers": metrics})
    update = Update.unpack(NODE, content)
    assert update.participant is NODE
    assert update.arrays is content["my-model"]
    assert (update.metrics, update.num_examples) == ({"loss": 1.5}, 4)


def test_the_reply_to_an_evaluation_has_no_arrays() -> None:
    update = Update.unpack(NODE, RecordDict({"numbers": MetricRecord({"loss": 1.5, "num-examples": 4})}))
    assert not update.arrays


def test_metrics_without_a_finite_value_are_undefined() -> None:
    update = make_update(1, loss=0.5, recall=math.nan, auc=math.inf)
    assert (update.defined_metrics, update.undefined_metrics) == ({"loss": 0.5}, ["auc", "recall"])


def test_means_are_weighted_by_examples() -> None:
    updates = [make_update(10, loss=1.0, accuracy=0.5), make_update(30, loss=2.0, accuracy=1.0)]
    # By hand: (1 * 10 + 2 * 30) / 40 and (0.5 * 10 + 1 * 30) / 40.
    assert weighted_means(updates) == {"loss": 1.75, "accuracy": 0.875}


@pytest.mark.parametrize("undefined", [{}, {"auc": math.nan}, {"auc": -math.inf}])
def test_the_mean_of_a_metric_is_over_the_nodes_where_it_is_defined(undefined: dict[str, float]) -> None:
    updates = [
        make_update(20, loss=1.0, **undefined),
        make_update(10, loss=2.0, auc=0.5),
        make_update(30, loss=4.0, auc=1.0),
    ]
    # By hand: (1 * 20 + 2 * 10 + 4 * 30) / 60 and (0.5 * 10 + 1 * 30) / 40.
    assert weighted_means(updates) == {"loss": pytest.approx(160 / 60), "auc": 0.875}


def test_a_metric_that_is_undefined_everywhere_is_absent() -> None:
    updates = [make_update(20, loss=1.0, auc=math.nan), make_update(20, loss=2.0, auc=math.nan)]
    assert weighted_means(updates) == {"loss": 1.5}


@given(
    st.lists(
        st.tuples(st.floats(allow_nan=False, allow_infinity=False), st.integers(1, 2**53)),
        min_size=1,
        max_size=20,
    )
)
def test_a_mean_of_finite_metrics_is_finite_and_between_them(nodes: list[tuple[float, int]]) -> None:
    means = weighted_means([make_update(count, loss=loss) for loss, count in nodes])
    losses = [loss for loss, _ in nodes]
    assert min(losses) <= means["loss"] <= max(losses)
