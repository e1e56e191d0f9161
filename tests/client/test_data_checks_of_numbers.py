"""Numbers in examples and labels that float32 cannot represent."""

import re
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from client.data import make_dataset
from client.data_checks import check_numbers
from tests.client.given.labels import FINE, error_of, of_labels


def test_a_value_late_in_a_large_memory_map_is_found_with_little_memory(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = np.memmap(tmp_path / "rows", np.float32, "w+", shape=(64, 1 << 20))
    rows[63, 5] = np.nan
    large = make_dataset("large", rows, np.arange(64))
    tracemalloc.start()
    try:
        with caplog.at_level("INFO", logger="fedmx"):
            message = error_of(lambda: check_numbers("t", (FINE, large)))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert message.startswith("TASK=t: test set: example 63 has nan;")
    assert peak < rows.nbytes / 2
    assert f"bytes={rows.nbytes}" in caplog.text


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_a_value_that_is_not_finite_is_named_with_set_row_and_value(value: float, dtype: str) -> None:
    examples = np.ones((5, 2, 2), dtype)
    examples[3, 1, 0] = value
    bad = make_dataset("bad", examples, np.arange(5))
    for sets, name in (((bad, FINE), "training set"), ((FINE, bad), "test set")):
        message = error_of(lambda sets=sets: check_numbers("t", sets))  # type: ignore[misc]
        assert message.startswith(f"TASK=t: {name}: example 3 has {value}; expected finite")


@pytest.mark.parametrize(
    "values",
    [
        np.array([[1.0], [2.0], [-3.5e38]]),
        np.array([[1], [2], [2**24 + 1]]),
        np.array([[1], [2], [-(2**24) - 1]], np.int32),
        np.array([[1], [2], [2**63 - 1]]),
        np.array([[1], [2], [2**64 - 1]], np.uint64),
        np.array([[1], [2], [2**25 + 1]], np.uint32),
    ],
    ids=str,
)
def test_a_label_that_float32_cannot_represent_is_named(values: NDArray[Any]) -> None:
    found = re.escape(f"label 2 has {values[2, 0].item()}; expected ")
    data = make_dataset("labels", np.ones((3, 2)), values)
    assert re.search(found, error_of(lambda: check_numbers("t", (FINE, data))))


def test_examples_that_are_integers_keep_their_dtype_and_may_have_any_value() -> None:
    values = np.array([[1], [2], [2**63 - 1]])
    check_numbers("t", (FINE, make_dataset("examples", values, np.arange(3))))


def test_a_row_near_the_end_of_a_large_set_is_found() -> None:
    labels = np.zeros((10_000, 1), np.int64)
    labels[9_999] = 2**24 + 1
    message = error_of(lambda: check_numbers("t", (of_labels(labels), FINE)))
    assert "label 9999 has 16777217; " in message


@pytest.mark.parametrize(
    "labels",
    [
        np.array([0.5, 3.4e38]),
        np.array([0, 2**24]),
        np.array([2**30, -(2**31)]),
        np.array([1e-300, 1 / 3]),
        # Rounding does no harm to a price, say.
        np.array([20_000_001.0, 5.0]),
        np.array([True, False]),
        # Their sum is not finite.
        np.full((9, 9), 6e4, np.float16),
    ],
    ids=str,
)
def test_numbers_that_float32_represents_or_rounds_are_accepted(labels: NDArray[Any]) -> None:
    check_numbers("t", (of_labels(labels), FINE))
