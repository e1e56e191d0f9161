"""Which replies are admitted, and each reason to reject one."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, Error, Message, MetricRecord, RecordDict
from numpy.typing import NDArray

from fedmx.link.flower import Envelope, rebuild_reply, set_identity
from server import admission
from server.layout import Layout
from server.leases import Participant
from tests.server.nodes import GOOD, Values, pack

NODE = Participant(7, "a", 0)
LAYOUT = Layout(
    arrays={"0.weight": ("float32", (2, 3)), "0.bias": ("float32", (3,)), "steps": ("int64", (1,))},
    trained=frozenset(("0.weight", "0.bias")),
    metrics=frozenset(("loss", "accuracy")),
    train_metrics=frozenset(("loss", "accuracy")),
)


def model(**replaced: NDArray[Any] | None) -> Values:
    """Return the arrays of a good update; some are replaced, or left out if None is given."""
    values: dict[str, NDArray[Any] | None] = {
        "0.weight": np.ones((2, 3), np.float32),
        "0.bias": np.ones(3, np.float32),
        "steps": np.ones(1, np.int64),
        **{name.replace("_", "."): value for name, value in replaced.items()},
    }
    return {name: value for name, value in values.items() if value is not None}


def update(values: Mapping[str, NDArray[Any]], metrics: Mapping[str, Any] = GOOD) -> RecordDict:
    return RecordDict({"arrays": pack(values), "metrics": MetricRecord(dict(metrics))})


def reply(content: RecordDict | Error) -> Message:
    set_identity(run_id=1, node_id=1)
    return rebuild_reply(Envelope(1, "train", "1", NODE.node_id), "", content)


def test_a_good_update_is_admitted_and_unpacked() -> None:
    content = update(model())
    admitted = admission.admit(reply(content), NODE, "train", LAYOUT)
    assert admitted.participant is NODE
    assert admitted.arrays is content["arrays"]
    assert (admitted.metrics, admitted.num_examples) == ({"loss": 0.5, "accuracy": 0.75}, 10)


@pytest.mark.parametrize(
    ("content", "step", "reason"),
    [
        (Error(4, "the node is gone"), "train", "the node is gone"),
        (Error(4, ""), "evaluate", "an error without a reason"),
        (RecordDict(), "train", "0 array records, expected 1"),
        (RecordDict(), "evaluate", "0 metric records, expected 1"),
        (RecordDict({"arrays": ArrayRecord()}), "evaluate", "1 array records, expected 0"),
    ],
)
def test_a_reply_is_rejected_with_the_reason(content: RecordDict | Error, step: str, reason: str) -> None:
    with pytest.raises(admission.RejectedError) as caught:
        admission.admit(reply(content), NODE, step, LAYOUT)
    assert str(caught.value) == reason


def test_arrays_may_come_in_another_order() -> None:
    shuffled = dict(reversed(model().items()))
    assert admission.find_problem_in_update(update(shuffled), LAYOUT) is None


@pytest.mark.parametrize(
    ("values", "expected"),
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
def test_arrays_that_are_not_in_the_model_are_rejected_by_name(values: Values, expected: str) -> None:
    assert admission.find_problem_in_update(update(values), LAYOUT) == expected


def test_bytes_that_are_no_array_are_rejected() -> None:
    record = pack(model())
    record["0.bias"] = Array(dtype="float32", shape=(3,), stype="numpy.ndarray", data=b"\x93NUMPY\x01\x00")
    content = RecordDict({"arrays": record, "metrics": MetricRecord(dict(GOOD))})
    problem = admission.find_problem_in_update(content, LAYOUT)
    assert problem is not None
    assert problem.startswith("array '0.bias' cannot be read: ")


@pytest.mark.parametrize(
    ("metrics", "expected"),
    [
        ({"loss": 0.5, "num-examples": 10}, "metric 'accuracy' is missing"),
        ({"loss": 0.5, "accuracy": 0.5}, "metric 'num-examples' is missing"),
        (GOOD | {"f1": 0.5}, "metric 'f1' is not one of accuracy, loss, num-examples"),
        (GOOD | {"loss": float("nan")}, "metric 'loss' is nan, expected a finite number"),
        (GOOD | {"loss": float("inf")}, "metric 'loss' is inf, expected a finite number"),
        (GOOD | {"loss": [0.5, 0.25]}, "metric 'loss' is [0.5, 0.25], expected a number"),
        (GOOD | {"accuracy": [0.5, 0.25]}, "metric 'accuracy' is [0.5, 0.25], expected a number"),
        (GOOD | {"num-examples": [10]}, "metric 'num-examples' is [10], expected a number"),
        (GOOD | {"num-examples": 0}, "num-examples is 0, expected a positive number up to 2**53"),
        (GOOD | {"num-examples": -1}, "num-examples is -1, expected a positive number up to 2**53"),
        (GOOD | {"num-examples": 2**54}, f"num-examples is {2**54}, expected a positive number up to 2**53"),
    ],
)
def test_metrics_that_cannot_be_averaged_are_rejected_by_name(
    metrics: Mapping[str, Any], expected: str
) -> None:
    assert admission.find_problem_in_update(update(model(), metrics), LAYOUT) == expected
    evaluated = RecordDict({"metrics": MetricRecord(dict(metrics))})
    assert admission.find_problem_in_metrics(evaluated, "evaluate", LAYOUT) == expected


@pytest.mark.parametrize("weight", [math.nan, math.inf, 0.0, -0.5, 1e308])
def test_an_evaluation_whose_weight_has_no_finite_sum_is_rejected(weight: float) -> None:
    content = RecordDict({"metrics": MetricRecord(GOOD | {"num-examples": weight})})
    expected = f"num-examples is {weight}, expected a positive number up to 2**53"
    assert admission.find_problem_in_evaluation(content, LAYOUT) == expected


WITHOUT_LOSS = Layout(LAYOUT.arrays, LAYOUT.trained, frozenset(("mAP",)), frozenset(("generator",)))


def test_each_step_has_metrics_of_its_own_and_none_needs_a_loss() -> None:
    trained = update(model(), {"generator": 0.5, "num-examples": 10})
    evaluated = RecordDict({"metrics": MetricRecord({"mAP": 0.5, "num-examples": 10})})
    assert admission.find_problem_in_update(trained, WITHOUT_LOSS) is None
    assert admission.find_problem_in_evaluation(evaluated, WITHOUT_LOSS) is None
    measured = admission.find_problem_in_metrics(trained, "evaluate", WITHOUT_LOSS)
    assert measured == "metric 'mAP' is missing"
    assert admission.find_problem_in_update(update(model()), WITHOUT_LOSS) == "metric 'generator' is missing"


ANY = Layout(LAYOUT.arrays, LAYOUT.trained, None, None)


@pytest.mark.parametrize(
    ("metrics", "expected"),
    [
        ({"num-examples": 10}, None),
        ({"mAP": math.nan, "generator": 0.5, "num-examples": 10}, None),
        ({"mAP": 0.5}, "metric 'num-examples' is missing"),
        (GOOD | {"loss": math.inf}, "metric 'loss' is inf, expected a finite number"),
        (GOOD | {"a b": 0.5}, "metric 'a b': expected at most 64 letters, digits, '.', '_' or '-'"),
        (GOOD | {f"m{n}": 0.5 for n in range(100)}, "103 metrics, expected at most 100"),
    ],
)
def test_metrics_with_any_valid_name_are_admitted_if_the_task_does_not_declare_them(
    metrics: Mapping[str, Any], expected: str | None
) -> None:
    assert admission.find_problem_in_update(update(model(), metrics), ANY) == expected
    evaluated = RecordDict({"metrics": MetricRecord(dict(metrics))})
    assert admission.find_problem_in_evaluation(evaluated, ANY) == expected


def test_an_evaluation_may_be_weighed_by_a_float_and_an_update_may_not() -> None:
    metrics = GOOD | {"num-examples": 2.5}
    evaluated = RecordDict({"metrics": MetricRecord(metrics)})
    assert admission.admit(reply(evaluated), NODE, "evaluate", LAYOUT).num_examples == 2.5
    expected = "num-examples is 2.5, expected an integer"
    assert admission.find_problem_in_update(update(model(), metrics), LAYOUT) == expected


def test_an_update_has_exactly_one_record_of_each_kind() -> None:
    twice = update(model())
    twice["more"] = pack(model())
    assert admission.find_problem_in_update(twice, LAYOUT) == "2 array records, expected 1"
    assert admission.find_problem_in_update(RecordDict(), LAYOUT) == "0 array records, expected 1"
    nothing = RecordDict({"arrays": pack(model())})
    assert admission.find_problem_in_update(nothing, LAYOUT) == "0 metric records, expected 1"
    measured_twice = update(model())
    measured_twice["more"] = MetricRecord(dict(GOOD))
    assert admission.find_problem_in_update(measured_twice, LAYOUT) == "2 metric records, expected 1"


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_metric_that_is_undefined_at_a_node_costs_neither_its_update_nor_its_evaluation(
    value: float,
) -> None:
    metrics = GOOD | {"accuracy": value}
    assert admission.find_problem_in_update(update(model(), metrics), LAYOUT) is None
    evaluated = RecordDict({"metrics": MetricRecord(dict(metrics))})
    assert admission.find_problem_in_evaluation(evaluated, LAYOUT) is None
    admitted = admission.admit(reply(evaluated), NODE, "evaluate", LAYOUT)
    assert (admitted.defined_metrics, admitted.undefined_metrics) == ({"loss": 0.5}, ["accuracy"])
    assert admitted.num_examples == 10


def test_an_evaluation_that_brings_arrays_is_rejected() -> None:
    content = RecordDict({"arrays": ArrayRecord(), "metrics": MetricRecord({"loss": 1.0, "num-examples": 1})})
    assert admission.find_problem_in_evaluation(content, LAYOUT) == "1 array records, expected 0"
