"""Flower's arrays as numpy arrays and back, of any dtype, shape and order."""

import contextlib
import hashlib
import io
import re
import tracemalloc
from typing import Any

import numpy as np
import pytest
from flwr.app import Array
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numpy.typing import NDArray

from fedmx import arrays

Values = NDArray[Any]


@st.composite
def numbers(draw: st.DrawFn) -> Values:
    """Draw an array of any dtype that is sent: 0-d, empty, in C or Fortran order, in either byte order."""
    kind = np.dtype(draw(st.sampled_from(sorted(arrays.DTYPES))))
    kind = kind.newbyteorder(draw(st.sampled_from("<>")))
    shape = draw(npst.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4))
    values = draw(npst.arrays(kind, shape))
    return np.asarray(values, order=draw(st.sampled_from("CF")))


def by_numpy(values: Values) -> Array:
    """Build an Array as Flower does."""
    file = io.BytesIO()
    np.save(file, values, allow_pickle=False)
    return Array(dtype=str(values.dtype), shape=values.shape, stype="numpy.ndarray", data=file.getvalue())


def with_header(header: bytes, data: bytes = b"", version: bytes = b"\x01\x00") -> Array:
    length = len(header).to_bytes(2 if version == b"\x01\x00" else 4, "little")
    whole = b"\x93NUMPY" + version + length + header + data
    return Array(dtype="float32", shape=(1,), stype="numpy.ndarray", data=whole)


def describe(descr: str, shape: object, width: int = 0) -> bytes:
    text = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}"
    return text.ljust(width - 1).encode() + b"\n"


def assert_same(one: Values, other: Values) -> None:
    assert (one.dtype.name, one.shape) == (other.dtype.name, other.shape)
    np.testing.assert_array_equal(one, other)


@given(numbers())
def test_packed_values_are_unpacked_unchanged(values: Values) -> None:
    packed = arrays.pack(values)
    assert (packed.dtype, packed.shape) == (values.dtype.name, values.shape)
    assert_same(arrays.view(packed), values)
    # As Flower reads it.
    assert_same(packed.numpy(), values)


@given(numbers())
def test_arrays_that_flower_packed_are_viewed_without_a_copy(values: Values) -> None:
    array = by_numpy(values)
    seen = arrays.view(array)
    assert_same(seen, values)
    assert not seen.flags.writeable
    assert not seen.size or np.shares_memory(seen, np.frombuffer(array.data, np.uint8))


@given(numbers())
def test_bytes_are_sent_in_c_order_and_little_endian(values: Values) -> None:
    expected = values.astype(values.dtype.newbyteorder("<")).tobytes(order="C")
    assert bytes(arrays.raw_bytes(by_numpy(values))) == expected
    assert bytes(arrays.raw_bytes(arrays.pack(values))) == expected


def test_a_packed_file_is_identical_to_numpys() -> None:
    values = np.arange(6, dtype=np.float32).reshape(2, 3)
    assert arrays.pack(values).data == by_numpy(values).data


def test_bytes_by_hand() -> None:
    values = np.array([[1, 2], [3, 258]], dtype=">u2", order="F")
    assert bytes(arrays.raw_bytes(by_numpy(values))) == bytes([1, 0, 2, 0, 3, 0, 2, 1])


def test_a_strided_view_is_packed_by_its_values() -> None:
    values = np.arange(12, dtype=np.int16).reshape(3, 4)[::2, ::-1]
    assert arrays.view(arrays.pack(values)).tolist() == [[3, 2, 1, 0], [11, 10, 9, 8]]


def test_a_file_of_npy_version_2_is_read() -> None:
    array = with_header(describe("<f4", "(2,)"), np.array([1, 2], np.float32).tobytes(), b"\x02\x00")
    assert arrays.view(array).tolist() == [1, 2]


def test_packing_copies_once_and_viewing_not_at_all() -> None:
    values = np.zeros(2_000_000, np.float32)  # 8 MB
    tracemalloc.start()
    packed = arrays.pack(values)
    assert tracemalloc.get_traced_memory()[1] < 8_100_000
    tracemalloc.reset_peak()
    arrays.raw_bytes(packed)
    assert tracemalloc.get_traced_memory()[1] < 8_100_000
    tracemalloc.stop()


def test_a_header_with_a_false_shape_is_rejected_before_anything_is_allocated() -> None:
    """A file of 136 bytes whose header announces 37 GiB."""
    array = with_header(describe("<f4", "(10000000000,)", 118), b"\0" * 8)
    assert len(array.data) == 136
    tracemalloc.start()
    with pytest.raises(ValueError, match=r"^8 bytes of data for float32 \(10000000000,\)$"):
        arrays.view(array)
    assert tracemalloc.get_traced_memory()[1] < 100_000
    tracemalloc.stop()


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (with_header(describe("<f4", "(2,)"), b"\0" * 7), "7 bytes of data for float32 (2,)"),
        (with_header(describe("<f4", "(2,)"), b"\0" * 9), "9 bytes of data for float32 (2,)"),
        (with_header(describe("|O", "(1,)"), b"\0" * 8), "not an npy file of numbers"),
        (with_header(describe("<c8", "(1,)"), b"\0" * 8), "not an npy file of numbers"),
        (with_header(describe("<f4", "(-1,)")), "not an npy file of numbers"),
        (with_header(describe("<f4", "((1,),)")), "not an npy file of numbers"),
        (with_header(b"(" * 3000), "not an npy file of numbers"),
        (with_header(describe("<f4", "(1,)"), version=b"\x03\x00"), "not an npy file of numbers"),
        (with_header(describe("<f4", (1,) * 33), b"\0" * 4), "33 dimensions, expected at most 32"),
        (with_header(describe("<f4", (0, 2**62))), f"shape (0, {2**62}), expected one that fits in memory"),
        (Array("float32", (1,), "numpy.ndarray", b""), "not an npy file of numbers"),
        (Array("float32", (1,), "numpy.ndarray", b"\x93NUMPY\x01\x00\xff\xff"), "not an npy file of numbers"),
        (Array("float32", (1,), "torch", b""), "serialization 'torch', expected 'numpy.ndarray'"),
    ],
)
def test_a_file_that_does_not_hold_numbers_is_rejected_with_the_reason(array: Array, expected: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(expected)}$"):
        arrays.view(array)


@given(numbers(), st.data())
def test_a_damaged_file_is_rejected_or_read(values: Values, data: st.DataObject) -> None:
    whole = bytearray(by_numpy(values).data)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(whole) - 1))
        whole[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    with contextlib.suppress(ValueError):  # every other exception fails the test
        arrays.view(Array("float32", (1,), "numpy.ndarray", bytes(whole)))


def test_sizes_are_counted_by_hand() -> None:
    assert arrays.byte_count("float32", (3, 4)) == 48
    assert arrays.byte_count("int64", ()) == 8
    assert arrays.byte_count("float16", (5, 0)) == 0
    with pytest.raises(ValueError, match=r"^dtype 'object', expected numbers or bool$"):
        arrays.byte_count("object", (1,))


def test_the_digest_is_over_name_dtype_shape_and_bytes_in_name_order() -> None:
    weight = np.array([[1.5, -2.0]], np.float32)
    count = np.array(7, np.int64)
    by_hand = hashlib.sha256(
        b"count\0int64\0()\0"
        + (7).to_bytes(8, "little")
        + b"weight\0float32\0(1, 2)\0"
        + bytes.fromhex("0000c03f 000000c0")
    )
    record = {"weight": arrays.pack(weight), "count": arrays.pack(count)}
    assert arrays.sha256(record) == by_hand.hexdigest()


def test_the_digest_does_not_depend_on_order_or_on_how_values_are_stored() -> None:
    one, other = np.arange(6.0).reshape(2, 3), np.ones(2)
    plain = {"a": by_numpy(one), "b": by_numpy(other)}
    stored_otherwise = {"b": by_numpy(other.astype(">f8")), "a": by_numpy(np.asfortranarray(one))}
    assert arrays.sha256(plain) == arrays.sha256(stored_otherwise)


@pytest.mark.parametrize(
    "other",
    [{"b": np.zeros(2)}, {"a": np.zeros(2, np.float32)}, {"a": np.zeros((2, 1))}, {"a": np.ones(2)}, {}],
)
def test_the_digest_depends_on_names_dtypes_shapes_and_values(other: dict[str, Values]) -> None:
    packed = {name: arrays.pack(values) for name, values in other.items()}
    assert arrays.sha256(packed) != arrays.sha256({"a": arrays.pack(np.zeros(2))})
