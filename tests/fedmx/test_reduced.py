"""Changes in fewer bits: how large the error is, and that it is not biased."""

import hashlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numpy.typing import NDArray

from fedmx import reduced
from fedmx.hyperparameters import WIRE_DTYPES

each_dtype = pytest.mark.parametrize("dtype", reduced.DTYPES)
# The distance of neighbours, relative to the value or, for int8, to the largest value.
STEPS = {"float16": 2.0**-10, "bfloat16": 2.0**-7, "int8": 1 / 127}
FLOATS = st.floats(-(2.0**100), 2.0**100, width=32)


def there_and_back(change: NDArray[np.float32], dtype: str, *seed: object) -> NDArray[np.float32]:
    return reduced.restore(*parts(change, dtype, *seed))


def parts(change: NDArray[np.float32], dtype: str, *seed: object) -> tuple[NDArray[Any], str, float]:
    small, scale = reduced.reduce(change, dtype, seed)
    assert small.dtype.name == reduced.DTYPES[dtype]
    return small, dtype, scale


def test_the_setting_knows_the_dtypes() -> None:
    assert tuple(reduced.DTYPES) == WIRE_DTYPES


@each_dtype
@given(change=npst.arrays(np.float32, npst.array_shapes(max_dims=3, max_side=5), elements=FLOATS))
def test_a_value_becomes_one_of_its_neighbours(dtype: str, change: NDArray[np.float32]) -> None:
    restored = there_and_back(change, dtype, 1)
    assert restored.shape == change.shape
    largest = float(np.abs(change).max())
    relative = largest if dtype == "int8" else np.abs(change.astype(np.float64))
    # Of float16, the values below 2**-24 of the largest have equal steps.
    below = largest * 2.0**-24 * 2 if dtype == "float16" else 2.0**-126
    allowed = 1.01 * STEPS[dtype] * relative + below
    assert (np.abs(restored.astype(np.float64) - change) <= allowed).all()


@each_dtype
def test_the_mean_over_many_seeds_is_the_value(dtype: str) -> None:
    change = np.array([1.0, 0.3, -0.7001, 0.0123, -3e-5, 1e-6, 0.0], np.float32)
    drawn = np.stack([there_and_back(change, dtype, number) for number in range(4000)]).astype(np.float64)
    error = np.abs(drawn.mean(axis=0) - change)
    # A value that is rarely rounded up may never have been in so many draws.
    assert (error <= 5 * drawn.std(axis=0) / np.sqrt(4000) + 5 * STEPS[dtype] / 4000).all()


@each_dtype
def test_a_seed_always_gives_the_same_bits(dtype: str) -> None:
    change = np.linspace(-1, 1, 1001, dtype=np.float32) ** 3
    first, again, other = (parts(change, dtype, *seed)[0] for seed in ([0, "a"], [0, "a"], [0, "b"]))
    assert first.tobytes() == again.tobytes()
    assert first.tobytes() != other.tobytes()


def test_the_bits_are_the_same_under_every_numpy() -> None:
    change = (np.arange(5000, dtype=np.float32) % 977 - 480) / np.float32(997)
    digest = hashlib.sha256()
    for dtype in reduced.DTYPES:
        small, _, scale = parts(change, dtype, 7, 3, 0, "0.weight")
        digest.update(small.tobytes() + np.float64(scale).tobytes())
        digest.update(reduced.restore(small, dtype, scale).tobytes())
    assert digest.hexdigest()[:16] == "280e7b528762bdd3"


@each_dtype
@pytest.mark.parametrize(
    "values",
    [[], [0.0, -0.0], [3.4e38, -3.4e38], [1e-45, -1e-45], [5.0]],
    ids=["none", "zeros", "largest", "smallest", "one"],
)
def test_extreme_arrays_are_restored_and_finite(dtype: str, values: list[float]) -> None:
    change = np.array(values, np.float32)
    restored = there_and_back(change, dtype, 1)
    assert np.isfinite(restored).all()
    assert (np.abs(restored - change) <= np.abs(change) * np.float32(0.02) + np.float32(1e-38)).all()


@each_dtype
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_known_by_the_scale(dtype: str, value: float) -> None:
    _, scale = reduced.reduce(np.array([1.0, value], np.float32), dtype, [1])
    assert not np.isfinite(scale)
