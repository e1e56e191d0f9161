"""The layout of a model: what a node's description says of it, and what is merged by it."""

import json
from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ConfigRecord
from numpy.typing import NDArray

from fedmx import arrays
from server.layout import Layout

BATCH_NORM = Layout(
    arrays={
        "gamma": ("float32", (2,)),
        "running_var": ("float32", (2,)),
        "beta": ("float16", (2,)),
        "steps": ("int64", (1,)),
    },
    trained=frozenset(("gamma", "beta")),
    metrics=frozenset(("loss",)),
    train_metrics=frozenset(("generator", "discriminator")),
)


def description(**entries: Any) -> ConfigRecord:
    heads = [
        json.dumps([name, dtype, shape, "trained" if name in BATCH_NORM.trained else "running"])
        for name, (dtype, shape) in BATCH_NORM.arrays.items()
    ]
    metrics = {"metrics": ["loss"], "train-metrics": ["generator", "discriminator"]}
    return ConfigRecord({"arrays": heads, **metrics, **entries})


def test_a_layout_is_read_from_a_nodes_description_in_its_order() -> None:
    layout = Layout.from_description(description(task="t"))
    assert layout == BATCH_NORM
    assert list(layout.arrays) == ["gamma", "running_var", "beta", "steps"]
    assert layout.running == ["running_var", "steps"]


@pytest.mark.parametrize("key", ["metrics", "train-metrics"])
def test_a_task_need_not_measure_anything_in_a_step(key: str) -> None:
    layout = Layout.from_description(description(**{key: []}))
    step = "train" if key == "train-metrics" else "evaluate"
    assert layout.metrics_of(step) == frozenset()


@pytest.mark.parametrize("key", ["metrics", "train-metrics"])
def test_a_task_may_leave_open_what_it_measures_in_a_step(key: str) -> None:
    layout = Layout.from_description(description(**{key: ["*"]}))
    steps = {"metrics": "evaluate", "train-metrics": "train"}
    assert [layout.metrics_of(steps[name]) is None for name in steps] == [name == key for name in steps]
    with pytest.raises(ValueError, match="metric '\\*'"):
        Layout.from_description(description(**{key: ["loss", "*"]}))


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ({"metrics": "loss"}, "it does not describe itself as a node: metrics is not a list"),
        ({"arrays": 5}, "it does not describe itself as a node: arrays is not a list"),
        ({"arrays": ["{"]}, "it does not describe itself as a node: "),
        ({"arrays": ["5"]}, "it does not describe itself as a node: "),
        ({"arrays": ['["w", "float32", [1]]']}, "it does not describe itself as a node: not enough values"),
        (
            {"arrays": ['[["w"], "float32", [1], "trained"]']},
            "it does not describe itself as a node: unhashable",
        ),
        ({"arrays": ["[" * 100_000]}, "it does not describe itself as a node: "),
        (
            {"arrays": ['["w", "float32", [1], true]']},
            "it does not describe itself as a node: array 'w' is 'True', expected trained, running, frozen",
        ),
        ({"train-metrics": "loss"}, "it does not describe itself as a node: train-metrics is not a list"),
        ({"train-metrics": ["a b"]}, "metric 'a b': expected at most 64 letters"),
        (
            {"metrics": ["loss", "a\nb"]},
            "metric 'a\\nb': expected at most 64 letters, digits, '.', '_' or '-'",
        ),
    ],
)
def test_a_description_that_cannot_be_used_is_rejected_with_the_reason(
    entries: dict[str, Any], expected: str
) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the text is compared below
        Layout.from_description(description(**entries))
    assert str(caught.value).startswith(expected)


def test_a_description_without_arrays_is_rejected() -> None:
    with pytest.raises(ValueError, match="it does not describe itself as a node: 'arrays'"):
        Layout.from_description(ConfigRecord())


def full(**replaced: NDArray[Any]) -> dict[str, Any]:
    values: dict[str, NDArray[Any]] = {
        "gamma": np.array([1, 2], np.float32),
        "running_var": np.array([3, 4], np.float32),
        "beta": np.array([5, 6], np.float16),
        "steps": np.array([7], np.int64),
        **replaced,
    }
    return {name: arrays.pack(value) for name, value in values.items()}


def test_only_trained_arrays_are_picked_in_the_models_order_and_not_copied() -> None:
    record = dict(reversed(full().items()))
    picked = BATCH_NORM.pick_trained(record)
    assert list(picked) == ["gamma", "beta"]
    assert all(picked[name] is record[name] for name in picked)


def test_updated_arrays_are_merged_in_the_models_order() -> None:
    updated = dict(reversed(full().items()))
    merged = BATCH_NORM.merge(updated, {})
    assert list(merged) == ["gamma", "running_var", "beta", "steps"]
    assert all(merged[name] is updated[name] for name in updated)


def test_a_result_is_cast_back_to_the_models_dtype() -> None:
    # Flower's averages of integers and of float16 are float64.
    gamma = arrays.view(BATCH_NORM.finish("gamma", arrays.pack(np.array([1.5, 2.5]))))
    beta = arrays.view(BATCH_NORM.finish("beta", arrays.pack(np.array([0.1, 0.2]))))
    assert gamma.dtype == np.float32
    assert beta.dtype == np.float16
    assert beta.tolist() == np.array([0.1, 0.2], np.float16).tolist()


def test_a_result_that_has_the_models_dtype_is_not_copied() -> None:
    held = arrays.pack(np.ones(2, np.float32))
    assert BATCH_NORM.finish("gamma", held) is held
    of_flower = Array(np.ones(2, np.float32))
    assert arrays.view(BATCH_NORM.finish("gamma", of_flower)).base is not None


@pytest.mark.parametrize(
    ("gamma", "expected"),
    [
        (np.array([1, np.nan], np.float32), "aggregation gave values that are not finite in array 'gamma'"),
        (np.array([1, np.inf], np.float32), "aggregation gave values that are not finite in array 'gamma'"),
        (np.array([1, 1e300]), "aggregation gave values that are not finite in array 'gamma'"),
        (np.ones(1, np.float32), "aggregation gave array 'gamma' shape (1,), expected (2,)"),
    ],
)
def test_invalid_results_of_an_aggregation_are_rejected(gamma: NDArray[Any], expected: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the text is compared below
        BATCH_NORM.finish("gamma", arrays.pack(gamma))
    assert str(caught.value) == expected


def test_an_array_that_an_aggregation_left_out_is_named() -> None:
    updated = full()
    del updated["beta"]
    with pytest.raises(ValueError, match="aggregation left out array 'beta'"):
        BATCH_NORM.merge(updated, {})


WITH_BODY = Layout(
    arrays={**BATCH_NORM.arrays, "body": ("float32", (1,))},
    trained=BATCH_NORM.trained,
    metrics=BATCH_NORM.metrics,
    train_metrics=BATCH_NORM.train_metrics,
    frozen=frozenset(("body",)),
)


def test_a_frozen_array_is_neither_trained_nor_running_nor_updated() -> None:
    heads = [*description()["arrays"], '["body", "float32", [1], "frozen"]']  # type: ignore[misc]
    layout = Layout.from_description(description(arrays=heads))
    assert layout == WITH_BODY
    assert layout.running == ["running_var", "steps"]
    assert list(layout.updated) == ["gamma", "running_var", "beta", "steps"]
    assert (layout.size, layout.updated_size) == (8 + 8 + 4 + 8 + 4, 8 + 8 + 4 + 8)


def test_frozen_arrays_are_left_out_of_messages_and_not_copied() -> None:
    record = full(body=np.ones(1, np.float32))
    sent = WITH_BODY.leave_out_frozen(record)
    assert list(sent) == ["gamma", "running_var", "beta", "steps"]
    assert all(sent[name] is record[name] for name in sent)


def test_an_aggregation_cannot_change_a_frozen_array() -> None:
    body = arrays.pack(np.ones(1, np.float32))
    wrong = full(body=np.zeros(1, np.float32))
    merged = WITH_BODY.merge(wrong, {"body": body})
    assert list(merged) == ["gamma", "running_var", "beta", "steps", "body"]
    assert merged["body"] is body
