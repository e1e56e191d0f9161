"""The global model: its layout, what is merged into it, and the file it becomes."""

import json
from typing import Any

import numpy as np
import pytest
from flwr.app import ConfigRecord
from numpy.typing import NDArray

from fedmx import arrays
from server import model
from server.model import Layout
from tests.server.nodes import unpack

BATCH_NORM = Layout(
    arrays={
        "gamma": ("float32", (2,)),
        "running_var": ("float32", (2,)),
        "beta": ("float16", (2,)),
        "steps": ("int64", (1,)),
    },
    trained=frozenset(("gamma", "beta")),
    metrics=frozenset(("loss",)),
)

ADVICE = "; expected a writable folder with room for it"


def description(**entries: Any) -> ConfigRecord:
    heads = [
        json.dumps([name, dtype, shape, name in BATCH_NORM.trained])
        for name, (dtype, shape) in BATCH_NORM.arrays.items()
    ]
    return ConfigRecord({"arrays": heads, "metrics": ["loss"], **entries})


def test_a_layout_is_read_from_a_nodes_description_in_its_order() -> None:
    layout = Layout.from_description(description(task="t"))
    assert layout == BATCH_NORM
    assert list(layout.arrays) == ["gamma", "running_var", "beta", "steps"]
    assert layout.running == ["running_var", "steps"]


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ({"metrics": "loss"}, "it does not describe itself as a node: metrics is not a list"),
        ({"arrays": 5}, "it does not describe itself as a node: arrays is not a list"),
        ({"arrays": ["{"]}, "it does not describe itself as a node: "),
        ({"arrays": ["5"]}, "it does not describe itself as a node: "),
        ({"arrays": ['["w", "float32", [1]]']}, "it does not describe itself as a node: not enough values"),
        ({"arrays": ['[["w"], "float32", [1], true]']}, "it does not describe itself as a node: unhashable"),
        ({"arrays": ["[" * 100_000]}, "it does not describe itself as a node: "),
        ({"metrics": ["accuracy"]}, "its metrics lack 'loss'"),
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
    assert all(picked[name].data is record[name].data for name in picked)


def test_trained_and_running_arrays_are_merged_in_the_models_order() -> None:
    trained, running = full(steps=np.array([0])), full(gamma=np.zeros(2, np.float32))
    merged = unpack(BATCH_NORM.merge(trained, running))
    assert list(merged) == ["gamma", "running_var", "beta", "steps"]
    assert merged["gamma"].tolist() == [1, 2]
    assert merged["steps"].tolist() == [7]


def test_merging_casts_back_to_the_models_dtypes() -> None:
    # Flower's averages of integers and of float16 are float64.
    trained = full(gamma=np.array([1.5, 2.5]), beta=np.array([0.1, 0.2]))
    merged = unpack(BATCH_NORM.merge(trained, full()))
    assert merged["gamma"].dtype == np.float32
    assert merged["beta"].dtype == np.float16
    assert merged["beta"].tolist() == np.array([0.1, 0.2], np.float16).tolist()


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
        BATCH_NORM.merge(full(gamma=gamma), full())
    assert str(caught.value) == expected


def test_an_array_that_an_aggregation_left_out_is_named() -> None:
    trained = full()
    del trained["beta"]
    with pytest.raises(ValueError, match="aggregation left out array 'beta'"):
        BATCH_NORM.merge(trained, full())


def test_running_arrays_are_averaged_by_examples_and_integers_rounded() -> None:
    one = full(running_var=np.array([1, 10], np.float32), steps=np.array([10]))
    other = full(running_var=np.array([2, 30], np.float32), steps=np.array([11]))
    averaged = model.average_running(BATCH_NORM, [(one, 10), (other, 30)])
    assert list(averaged) == ["running_var", "steps"]
    # (1 * 10 + 2 * 30) / 40, (10 * 10 + 30 * 30) / 40, (10 * 10 + 11 * 30) / 40 = 10.75
    assert arrays.view(averaged["running_var"]).tolist() == [1.75, 25.0]
    assert arrays.view(averaged["steps"]).tolist() == [11]
    assert arrays.view(averaged["steps"]).dtype == np.int64


def test_one_update_is_its_own_average() -> None:
    averaged = model.average_running(BATCH_NORM, [(full(), 3)])
    assert arrays.view(averaged["running_var"]).tolist() == [3, 4]
