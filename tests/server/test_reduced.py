"""Updates that travel in fewer bits are restored before they are checked, and refused if they cannot be."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from flwr.app import ConfigRecord, RecordDict
from numpy.typing import NDArray

from fedmx import arrays, reduced
from fedmx.array_store import ArrayStore
from fedmx.hyperparameters import OFF
from server.layout import Layout
from server.reduced import restore_update
from tests.server.nodes import pack

LAYOUT = Layout(
    arrays={"weight": ("float32", (3,)), "double": ("float64", (2,)), "variance": ("float32", (1,))},
    trained=frozenset(("weight", "double")),
    metrics=None,
    train_metrics=None,
)
BEFORE = pack(
    {
        "weight": np.array([1, 2, 3], np.float32),
        "double": np.array([0.5, -0.5]),
        "variance": np.ones(1, np.float32),
    }
)
GOOD = {"dtype": "int8", "names": ["weight", "double"], "scales": [0.5, 0.25]}


def make(record: Mapping[str, Any], **changed: Any) -> RecordDict:
    values: dict[str, NDArray[Any]] = {
        "weight": np.array([2, 0, -2], np.int8),
        "double": np.array([1, -127], np.int8),
        "variance": np.array([0.75], np.float32),
    }
    content = RecordDict({"arrays": pack(values | changed)})
    content[reduced.RECORD] = ConfigRecord(dict(record))
    return content


def restore(content: RecordDict, dtype: str = "int8") -> str | None:
    return restore_update(content, dtype, LAYOUT, BEFORE, ArrayStore())


def test_the_changes_are_added_to_what_was_sent_in_the_models_dtypes() -> None:
    content = make(GOOD)
    assert restore(content) is None
    restored = {name: arrays.view(array) for name, array in content.array_records["arrays"].items()}
    assert restored["weight"].tolist() == [2.0, 2.0, 2.0]
    assert restored["double"].tolist() == [0.75, -32.25]
    assert [values.dtype.name for values in restored.values()] == ["float32", "float64", "float32"]


def test_arrays_that_are_not_named_are_left_as_they_are() -> None:
    weight = np.array([4, 5, 6], np.float32)
    content = make({"dtype": "int8", "names": [], "scales": []}, weight=weight)
    assert restore(content) is None
    assert arrays.view(content.array_records["arrays"]["weight"]).tolist() == [4.0, 5.0, 6.0]


@pytest.mark.parametrize(
    ("record", "changed", "expected"),
    [
        (GOOD | {"dtype": "float16"}, {}, "arrays reduced to 'float16', expected WIRE_DTYPE=int8"),
        (GOOD | {"scales": [0.5]}, {}, "reduced arrays without a scale for each"),
        (GOOD | {"names": "weight"}, {}, "reduced arrays without a scale for each"),
        (
            GOOD | {"names": ["weight", "variance"]},
            {},
            "reduced array 'variance' is not a trained one in the update",
        ),
        (GOOD | {"names": ["weight", "x"]}, {}, "reduced array 'x' is not a trained one in the update"),
        (
            GOOD | {"scales": [0.5, -1.0]},
            {},
            "reduced array 'double' has the scale -1.0, expected a number that is not negative",
        ),
        (GOOD | {"scales": [0.5, float("nan")]}, {}, "reduced array 'double' has values that are not finite"),
        (
            GOOD,
            {"weight": np.zeros(3, np.float32)},
            "reduced array 'weight' is float32 (3,), expected int8 (3,)",
        ),
        (GOOD, {"weight": np.zeros(4, np.int8)}, "reduced array 'weight' is int8 (4,), expected int8 (3,)"),
        (
            GOOD | {"names": ["weight", "weight"]},
            {},
            "reduced array 'weight' is float32 (3,), expected int8 (3,)",
        ),
    ],
    ids=["dtype", "scales", "names", "running", "unknown", "negative", "nan", "array", "shape", "twice"],
)
def test_what_cannot_be_restored_is_a_problem_in_one_line(
    record: Mapping[str, Any], changed: Mapping[str, Any], expected: str
) -> None:
    assert restore(make(record, **changed)) == expected


def test_reduced_arrays_that_nobody_asked_for_are_refused() -> None:
    assert restore(make(GOOD), OFF) == "arrays reduced to 'int8', expected WIRE_DTYPE=off"


def test_an_update_without_the_record_is_left_to_the_usual_checks() -> None:
    content = RecordDict({"arrays": BEFORE})
    assert restore(content) is None
    assert content.array_records["arrays"] == BEFORE
