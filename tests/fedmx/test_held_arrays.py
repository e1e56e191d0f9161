"""Arrays that stay in memory as numpy: to Flower they are its own, and their bytes decide what is equal."""

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from blake3 import blake3
from flwr.app import Array, ArrayRecord, RecordDict
from flwr.supercore.inflatable.inflatable_object import InflatableObject
from flwr.supercore.inflatable.inflatable_utils import inflate_object_from_contents
from hypothesis import given

from fedmx import arrays
from fedmx.array_store import ArrayStore
from tests.fedmx.test_array_store import find_files
from tests.fedmx.test_arrays import Values, assert_same, by_numpy, numbers

VALUES = np.arange(2000, dtype=np.float32).reshape(40, 50)


def store(values: Values, folder: Path) -> Array:
    return ArrayStore(0, folder).copy(values)


def as_sent(values: Values) -> Values:
    return np.asarray(values, dtype=values.dtype.newbyteorder("<"), order="C")


def changed(place: int, value: float) -> Values:
    values = VALUES.copy()
    values.reshape(-1)[place] = value
    return values


@given(numbers())
def test_the_file_of_a_held_array_is_the_one_that_numpy_writes(values: Values) -> None:
    assert arrays.pack(values).data == by_numpy(as_sent(values)).data


@given(numbers())
def test_a_held_array_equals_flowers_with_the_same_values(values: Values) -> None:
    flowers = by_numpy(as_sent(values))
    assert arrays.pack(values) == flowers
    assert arrays.are_equal(flowers, arrays.pack(values))
    assert arrays.digest(by_numpy(values)) == arrays.digest(arrays.pack(values))


@pytest.mark.parametrize(
    "other",
    [
        VALUES.astype(np.float64),
        VALUES.reshape(50, 40),
        changed(0, -0.0),
        changed(1023, 7),
        changed(1024, 7),
        changed(1999, 7),
    ],
    ids=["dtype", "shape", "sign of zero", "end of the first bytes", "after the first bytes", "last value"],
)
@pytest.mark.parametrize("make", [by_numpy, arrays.pack], ids=["flowers", "held"])
def test_arrays_differ_by_dtype_shape_and_every_byte(make: Callable[[Values], Array], other: Values) -> None:
    array = arrays.pack(VALUES.copy())
    assert array != make(other)
    assert not arrays.are_equal(make(other), array)
    assert arrays.digest(array) != arrays.digest(make(other))


def test_nan_equals_itself() -> None:
    assert arrays.pack(np.array([np.nan])) == arrays.pack(np.array([np.nan]))


def test_the_digest_is_over_dtype_shape_and_bytes() -> None:
    by_hand = blake3(b"float32\0(1, 2)\0" + bytes.fromhex("0000c03f 000000c0")).digest()
    assert arrays.digest(arrays.pack(np.array([[1.5, -2.0]], np.float32))) == by_hand


def test_a_digest_that_was_set_is_kept() -> None:
    array = arrays.pack(VALUES.copy())
    arrays.set_digest(array, b"from the server")
    assert arrays.digest(array) == b"from the server"


def test_what_flower_gets_may_be_written_to_and_changes_nothing() -> None:
    array = arrays.pack(VALUES.copy())
    got = array.numpy()
    got += 1
    assert_same(array.numpy(), VALUES)
    assert not arrays.view(array).flags.writeable


def test_records_hold_the_arrays_themselves() -> None:
    array = arrays.pack(VALUES.copy())
    assert arrays.make_record({"a": array})["a"] is array
    assert np.shares_memory(arrays.view(array), arrays.view(arrays.hold(array)))


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda each: pickle.loads(pickle.dumps(each))])  # noqa: S301 - its own
@pytest.mark.parametrize("where", ["memory", "file"])
def test_copies_are_held_arrays_in_memory(copied: Callable[[Any], Any], where: str, tmp_path: Path) -> None:
    array = arrays.pack(VALUES.copy()) if where == "memory" else store(VALUES, tmp_path)
    got = copied(array)
    assert isinstance(got, arrays.HeldArray)
    assert_same(arrays.view(got), VALUES)
    assert not arrays.view(got).flags.writeable


@pytest.mark.parametrize("where", ["memory", "file"])
def test_flowers_engines_carry_them_like_its_own(where: str, tmp_path: Path) -> None:
    array = arrays.pack(VALUES.copy()) if where == "memory" else store(VALUES, tmp_path)
    content = RecordDict({"arrays": arrays.make_record({"a": array, "b": arrays.pack(np.ones(3))})})
    contents: dict[str, bytes] = {}

    def deflate(each: InflatableObject) -> None:
        contents[each.object_id] = each.deflate()
        for child in (each.children or {}).values():
            deflate(child)

    deflate(content)
    arrived = inflate_object_from_contents(content.object_id, contents)
    assert isinstance(arrived, RecordDict)
    record = arrived["arrays"]
    assert isinstance(record, ArrayRecord)
    assert [type(each) for each in record.values()] == [Array, Array]
    assert_same(record["a"].numpy(), VALUES)


def test_what_is_held_is_in_memory(tmp_path: Path) -> None:
    store = ArrayStore(0, tmp_path)
    array = store.copy(VALUES)
    held = arrays.hold(array)
    del array
    assert find_files(tmp_path) == [0]
    assert_same(arrays.view(held), VALUES)
    assert arrays.hold(held) is held
