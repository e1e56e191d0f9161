"""Datasets: which arrays make one, which labels are class numbers, and the digest of labels."""

import hashlib
import math
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from client.data import MAX_EXACT, Dataset, are_class_numbers, labels_sha256, make_dataset
from fedmx.errors import DataError

INTEGERS = ("i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8")


def numbers(*, min_dims: int, max_dims: int) -> st.SearchStrategy[NDArray[Any]]:
    """Draw arrays of every dtype that a dataset may hold; half of the floats are whole."""
    dtypes = st.sampled_from([order + code for order in "<>" for code in ("b1", *INTEGERS, "f2", "f4", "f8")])
    shapes = hnp.array_shapes(min_dims=min_dims, max_dims=max_dims, max_side=4)
    arrays = st.tuples(dtypes, shapes).flatmap(lambda drawn: hnp.arrays(*drawn))
    return arrays | arrays.map(lambda array: np.trunc(array) if array.dtype.kind == "f" else array)


# Datasets


@pytest.mark.parametrize("dtype", ["?", "u1", "i1", ">i4", "<i8", "u8", "f2", ">f4", "f8"])
def test_class_numbers_of_any_dtype_become_int64_and_examples_stay_as_they_are(dtype: str) -> None:
    examples = np.zeros((3, 2), np.float16)
    labels = np.array([0, 2, 1], dtype)
    dataset = make_dataset("set", examples, labels)
    assert dataset.examples is examples
    assert dataset.labels.dtype == np.int64
    assert dataset.labels.tolist() == [0, 1 if dtype == "?" else 2, 1]
    assert are_class_numbers(dataset.labels)


@pytest.mark.parametrize(
    "labels",
    [
        pytest.param(np.array([0.5, 1.0, 2.0], "f4"), id="targets"),
        pytest.param(np.array([0.5, 1.0, 2.0], ">f8"), id="big-endian targets"),
        pytest.param(np.array([0.0, 1.0, np.nan], "f2"), id="a target missing"),
        pytest.param(np.array([0.0, 1.0, np.inf]), id="an infinite target"),
        pytest.param(np.array([0.0, 1.0, 1e30]), id="whole, beyond int64"),
        pytest.param(np.array([0.0, 1.0, 2.0**24 + 2]), id="whole floats that float32 may round"),
        pytest.param(np.array([0, 1, 2**63], "u8"), id="unsigned, beyond int64"),
        pytest.param(np.array([[0], [1], [2]], "i8"), id="a column of whole numbers"),
        pytest.param(np.eye(3, dtype=bool), id="several labels per example"),
        pytest.param(np.zeros((3, 2, 2), "u1"), id="masks"),
    ],
)
def test_other_labels_stay_as_they_are(labels: NDArray[Any]) -> None:
    dataset = make_dataset("set", np.zeros((3, 2)), labels)
    assert dataset.labels is labels
    assert not are_class_numbers(dataset.labels)
    assert len(dataset) == 3


@settings(deadline=None)
@given(numbers(min_dims=1, max_dims=1))
def test_labels_of_one_dimension_become_int64_exactly_where_it_holds_them_all(labels: NDArray[Any]) -> None:
    made = make_dataset("set", np.zeros(len(labels)), labels).labels
    # Python's own numbers are exact: they decide what numpy's cast should return.
    values = labels.tolist()
    are_whole = all(math.isfinite(value) and int(value) == value for value in values)
    low, high = (-MAX_EXACT, MAX_EXACT) if labels.dtype.kind == "f" else (-(2**63), 2**63 - 1)
    if are_whole and all(low <= value <= high for value in values):
        assert made.dtype == np.int64
        assert made.tolist() == values
    else:
        assert made is labels


@settings(deadline=None)
@given(numbers(min_dims=2, max_dims=4))
def test_labels_of_several_dimensions_always_stay_as_they_are(labels: NDArray[Any]) -> None:
    assert make_dataset("set", np.zeros(len(labels)), labels).labels is labels


DTYPE = "expected numbers of at most 64 bits"
EMPTY = "expected at least one number"


@pytest.mark.parametrize(
    ("examples", "labels", "message"),
    [
        (np.zeros((3, 2)), np.zeros(2), "3 examples, but 2 labels; expected one label per example"),
        (np.zeros((2, 3)), np.zeros((3, 2)), "2 examples, but 3 labels; expected one label per example"),
        (np.zeros((3, 2)), np.zeros(()), "labels have shape (); expected one row per example"),
        (np.zeros(()), np.zeros(1), "examples have shape (); expected one row per example"),
        (np.zeros((0, 2)), np.zeros(0), f"examples have shape (0, 2); {EMPTY}"),
        (np.zeros((2, 0)), np.zeros(2), f"examples have shape (2, 0); {EMPTY}"),
        (np.zeros((2, 1)), np.zeros(0), f"labels have shape (0,); {EMPTY}"),
        (np.zeros((2, 1)), np.zeros((2, 0)), f"labels have shape (2, 0); {EMPTY}"),
        (np.array(["a"]), np.zeros(1), f"examples are of dtype <U1; {DTYPE}"),
        (np.zeros(1), np.array([None]), f"labels are of dtype object; {DTYPE}"),
        (np.zeros(1), np.zeros(1, "c8"), f"labels are of dtype complex64; {DTYPE}"),
        (np.zeros(1), np.zeros(1, "M8[s]"), f"labels are of dtype datetime64[s]; {DTYPE}"),
        (np.zeros(1), np.zeros(1, "g"), f"labels are of dtype {np.dtype(np.longdouble)}; {DTYPE}"),
        (np.zeros(1), [0], "labels are of type list; expected a numpy array"),
    ],
)
def test_arrays_that_are_not_a_dataset_are_refused(examples: NDArray[Any], labels: Any, message: str) -> None:
    with pytest.raises(DataError) as caught:
        make_dataset("set", examples, labels)
    assert str(caught.value) == f"set: {message}"


# The digest


def dataset_of(*labels: float, dtype: str = "i8") -> Dataset:
    return make_dataset("set", np.zeros(len(labels)), np.array(labels, dtype))


def digest_of(train: NDArray[Any], test: NDArray[Any]) -> str:
    return labels_sha256(*(make_dataset("set", np.zeros(len(labels)), labels) for labels in (train, test)))


def test_the_digest_is_over_dtype_shape_and_little_endian_rows_of_both_sets() -> None:
    train = np.array([[1, 2], [3, 258]], ">i2")
    test = np.array([0.5], ">f4")
    packed = b"<i2 (2, 2);" + struct.pack("<4h", 1, 2, 3, 258) + b"<f4 (1,);" + struct.pack("<f", 0.5)
    assert digest_of(train, test) == hashlib.sha256(packed).hexdigest()
    packed = b"<i8 (2,);" + struct.pack("<qq", 258, -1) + b"|b1 (1, 2);\1\0"
    assert (
        digest_of(np.array([258, -1], "i2"), np.array([[True, False]])) == hashlib.sha256(packed).hexdigest()
    )


def test_the_digest_does_not_depend_on_how_class_numbers_were_stored() -> None:
    expected = labels_sha256(dataset_of(3, 1), dataset_of(2))
    for dtype in ("u1", ">i4", "f4", ">f8"):
        assert labels_sha256(dataset_of(3, 1, dtype=dtype), dataset_of(2, dtype=dtype)) == expected


@settings(deadline=None)
@given(numbers(min_dims=1, max_dims=4), numbers(min_dims=1, max_dims=4))
def test_the_digest_does_not_depend_on_byte_order_or_memory_layout(
    train: NDArray[Any], test: NDArray[Any]
) -> None:
    expected = digest_of(train, test)
    assert digest_of(train.astype(train.dtype.newbyteorder()), np.asfortranarray(test)) == expected
    assert digest_of(np.repeat(train, 2, axis=0)[::2], test) == expected


def test_equal_bytes_of_another_meaning_have_another_digest() -> None:
    labels = np.array([0x3FE0_0000_3F00_0000, 0x3FE0_0000_3F00_0001])
    forms = [
        labels,
        labels.reshape(2, 1),
        labels.reshape(1, 2),
        labels.view("u8").reshape(2, 1),
        labels.view("f8"),
        labels.view("f8").reshape(2, 1),
        labels.view("f4"),
        labels.view("f4").reshape(2, 2),
    ]
    digests = {digest_of(train, test) for train in forms for test in forms}
    assert len(digests) == len(forms) ** 2
    rows = np.array([[0.5], [1.5], [2.5]])
    assert digest_of(rows[:1], rows[1:]) != digest_of(rows[:2], rows[2:])


def test_other_values_orders_and_sides_have_another_digest() -> None:
    floats = {
        digest_of(np.array(train), np.array([0.5])) for train in ([0.5, 1], [1, 0.5], [0.5, 2], [0.5, np.nan])
    }
    assert len(floats) == 4
    sides = [((3, 1), (2,)), ((1, 3), (2,)), ((3,), (1, 2)), ((3, 1), (4,)), ((2,), (3, 1))]
    classes = {labels_sha256(dataset_of(*train), dataset_of(*test)) for train, test in sides}
    assert len(classes) == len(sides)
