"""The IDX reader: what real and hand-written files give, and the one line that each wrong file gives."""

import gzip
import hashlib
import math
import re
import struct
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from client.data import (
    MAX_EXACT,
    Dataset,
    are_class_numbers,
    labels_sha256,
    make_dataset,
    read_idx,
    read_idx_dataset,
)
from fedmx.errors import DataError
from fedmx.files import expected_readable

MNIST = Path(__file__).parents[2] / "data" / "mnist"
FOUR_FILES = "expected the four IDX files (see data/mnist/README.md)"
AN_IDX_FILE = "expected an IDX file (00 00, a type of 08, 09, 0b, 0c, 0d, 0e, number of dimensions)"
COPY_AGAIN = "copy the file again from where it came"
INTEGERS = ("i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8")
IDX_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
# Two images of 1 x 3 pixels.
SMALL = bytes.fromhex("00000803 00000002 00000001 00000003 010203 fdfeff")
MIB = 1 << 20


def pack_idx(code: int, shape: tuple[int, ...], payload: bytes) -> bytes:
    return bytes([0, 0, code, len(shape)]) + struct.pack(f">{len(shape)}I", *shape) + payload


def pack_images(count: int, rows: int = 2, columns: int = 3) -> bytes:
    return pack_idx(0x08, (count, rows, columns), bytes(range(count * rows * columns)))


def pack_labels(*labels: int) -> bytes:
    return pack_idx(0x08, (len(labels),), bytes(labels))


def write_dataset(folder: Path) -> Path:
    (folder / "train-images-idx3-ubyte").write_bytes(pack_images(4))
    (folder / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(pack_labels(7, 0, 1, 7)))
    (folder / "t10k-images-idx3-ubyte.gz").write_bytes(gzip.compress(pack_images(2)))
    (folder / "t10k-labels-idx1-ubyte").write_bytes(pack_labels(1, 7))
    return folder


def numbers(*, min_dims: int, max_dims: int) -> st.SearchStrategy[NDArray[Any]]:
    """Draw arrays of every dtype that a dataset may hold; half of the floats are whole."""
    dtypes = st.sampled_from([order + code for order in "<>" for code in ("b1", *INTEGERS, "f2", "f4", "f8")])
    shapes = hnp.array_shapes(min_dims=min_dims, max_dims=max_dims, max_side=4)
    arrays = st.tuples(dtypes, shapes).flatmap(lambda drawn: hnp.arrays(*drawn))
    return arrays | arrays.map(lambda array: np.trunc(array) if array.dtype.kind == "f" else array)


def error_of_reading(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_idx(path)
    return str(caught.value).removeprefix(f"{path}: ")


def read_or_explain(path: Path) -> NDArray[Any] | str:
    try:
        return read_idx(path)
    except DataError as error:
        line = str(error)
    assert line.startswith(f"{path}: ")
    assert "\n" not in line
    return line


def error_of_dataset(folder: Path) -> str:
    with pytest.raises(DataError) as caught:
        read_idx_dataset(folder)
    return str(caught.value)


@pytest.fixture(scope="module")
def mnist() -> tuple[Dataset, Dataset]:
    return read_idx_dataset(MNIST)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("idx")


# The real files


def test_mnist_has_its_known_label_counts(mnist: tuple[Dataset, Dataset]) -> None:
    train, test = mnist
    assert np.bincount(train.labels).tolist() == [
        5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949,
    ]  # fmt: skip
    assert np.bincount(test.labels).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]


def test_mnist_images_are_the_bytes_of_the_files_in_their_order(mnist: tuple[Dataset, Dataset]) -> None:
    for dataset, name, count in zip(mnist, ("train", "t10k"), (60_000, 10_000), strict=True):
        assert len(dataset) == count
        assert dataset.examples.shape == (count, 28, 28)
        assert dataset.examples.dtype == np.uint8
        content = gzip.decompress((MNIST / f"{name}-images-idx3-ubyte.gz").read_bytes())
        assert dataset.examples.tobytes() == content[16:]


def test_the_digests_in_the_readme_are_those_of_the_files() -> None:
    row = r"^\| `(\S+)` \| `([0-9a-f]{64})` \| `([0-9a-f]{64})` \|$"
    table = re.findall(row, (MNIST / "README.md").read_text(), re.MULTILINE)
    assert sorted(name for name, _, _ in table) == sorted(path.name for path in MNIST.glob("*ubyte*"))
    assert len(table) == 4
    for name, of_file, of_content in table:
        packed = (MNIST / name).read_bytes()
        assert hashlib.sha256(packed).hexdigest() == of_file
        assert hashlib.sha256(gzip.decompress(packed)).hexdigest() == of_content


# One file


def test_elements_of_several_bytes_are_read_big_endian(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(bytes.fromhex("00000b02 00000002 00000001 0102 fffe"))
    array = read_idx(path)
    assert array.tolist() == [[258], [-2]]
    assert array.dtype == np.dtype("=i2")
    path.write_bytes(bytes.fromhex("00000d01 00000001 3fc00000"))
    assert read_idx(path).tolist() == [1.5]


@settings(deadline=None)  # a busy machine is not a failure
@given(st.data())
def test_every_type_and_shape_comes_back_as_written(scratch: Path, data: st.DataObject) -> None:
    code = data.draw(st.sampled_from(sorted(IDX_TYPES)))
    shape = tuple(data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=4)))
    size = math.prod(shape) * np.dtype(IDX_TYPES[code]).itemsize
    payload = data.draw(st.binary(min_size=size, max_size=size))
    content = pack_idx(code, shape, payload)
    (scratch / "same").write_bytes(content)
    (scratch / "same.gz").write_bytes(gzip.compress(content))
    for name in ("same", "same.gz"):
        array = read_idx(scratch / name)
        assert array.shape == shape
        assert array.dtype == np.dtype(IDX_TYPES[code]).newbyteorder("=")
        assert array.astype(IDX_TYPES[code]).tobytes() == payload


def test_an_array_that_was_read_can_be_written_to(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(SMALL)
    array = read_idx(tmp_path / "x")
    array[0, 0, 0] = 9
    assert array.tolist() == [[[9, 2, 3]], [[253, 254, 255]]]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", f"the file is empty: {COPY_AGAIN}"),
        (b"\0\0", f"starts with 00 00: {AN_IDX_FILE}"),
        (b"<html>", f"starts with 3c 68 74 6d: {AN_IDX_FILE}"),
        (b"\0\0\x0a\x01\0\0\0\x01\0", f"starts with 00 00 0a 01: {AN_IDX_FILE}"),
        (b"\0\x01\x08\x01\0\0\0\x01\0", f"starts with 00 01 08 01: {AN_IDX_FILE}"),
        (b"\0\0\x08\0\0", "declares 0 dimensions: expected 1 to 32"),
        (pack_idx(8, (1,) * 33, b"\0"), "declares 33 dimensions: expected 1 to 32"),
        (SMALL[:15], f"ends within its header: {COPY_AGAIN}"),
        (
            pack_idx(8, (4_000_000_000, 0), b""),
            "declares no elements, shape (4000000000, 0): expected at least one",
        ),
        (
            SMALL[:-1],
            f"holds 5 bytes after its header, which declares 6 bytes (uint8 (2, 1, 3)): {COPY_AGAIN}",
        ),
        (
            SMALL + b"\0",
            f"holds more after its header, which declares 6 bytes (uint8 (2, 1, 3)): {COPY_AGAIN}",
        ),
        (
            pack_idx(0x0D, (2,), b"\0" * 7),
            f"holds 7 bytes after its header, which declares 8 bytes (float32 (2,)): {COPY_AGAIN}",
        ),
    ],
)
def test_content_that_is_not_one_whole_idx_file_is_one_line(
    tmp_path: Path, content: bytes, message: str
) -> None:
    assert error_of_reading(tmp_path / "x", content) == message
    if content:
        assert error_of_reading(tmp_path / "x.gz", gzip.compress(content)) == message


def test_an_empty_file_named_gz_is_one_line(tmp_path: Path) -> None:
    assert error_of_reading(tmp_path / "x.gz", b"") == f"the file is empty: {COPY_AGAIN}"


def test_gzip_around_nothing_is_one_line(tmp_path: Path) -> None:
    assert error_of_reading(tmp_path / "x.gz", gzip.compress(b"")).startswith(
        "starts with nothing: expected an IDX"
    )


def test_names_and_compression_that_disagree_are_one_line(tmp_path: Path) -> None:
    message = f"not gzip data: {COPY_AGAIN}, or take .gz off its name"
    assert error_of_reading(tmp_path / "x.gz", SMALL) == message
    message = "gzip data: unpack it, or put .gz at its name's end"
    assert error_of_reading(tmp_path / "x", gzip.compress(SMALL)) == message


def test_damaged_gzip_data_is_one_line_that_says_how(tmp_path: Path) -> None:
    path, packed = tmp_path / "x.gz", gzip.compress(SMALL)
    wrong_sum = packed[:-8] + bytes(4) + packed[-4:]
    wrong_length = packed[:-4] + bytes(4)
    wrong_method = packed[:2] + b"\x09" + packed[3:]
    wrong_block = packed[:10] + b"\x07" + packed[11:]
    for content, reason in (
        (packed[:-9], "Compressed file ended before the end-of-stream marker was reached"),
        (packed[:-1], "Compressed file ended before the end-of-stream marker was reached"),
        (packed[:5], "Compressed file ended before the end-of-stream marker was reached"),
        (wrong_sum, r"CRC check failed 0x0 != 0x[0-9a-f]+"),
        (wrong_length, "Incorrect length of data produced"),
        (wrong_method, "Unknown compression method"),
        (wrong_block, "Error -3 while decompressing data: invalid block type"),
        (packed + b"rest", "data after the end"),
    ):
        message = error_of_reading(path, content)
        assert re.fullmatch(rf"damaged gzip data \({reason}\): {COPY_AGAIN}", message), message


def test_a_file_that_cannot_be_opened_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError) as caught:
        read_idx(tmp_path / "gone")
    expected = f"{tmp_path}/gone: cannot be read (No such file or directory): expected a readable one"
    assert str(caught.value) == expected
    with pytest.raises(DataError) as caught:
        read_idx(tmp_path)
    assert str(caught.value) == f"{tmp_path}: cannot be read (Is a directory): expected a readable one"

    def refuse(path: Path, *_: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    # Simulated, because root may read every file.
    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(DataError) as caught:
        read_idx(tmp_path / "x")
    assert str(caught.value) == f"{tmp_path}/x: cannot be read (Permission denied): {expected_readable()}"


@settings(deadline=None)
@given(cut=st.integers(0, len(gzip.compress(SMALL)) - 1), rest=st.binary(min_size=1, max_size=5))
def test_no_part_of_a_file_and_no_longer_file_passes_for_the_file(
    scratch: Path, cut: int, rest: bytes
) -> None:
    packed = gzip.compress(SMALL)
    for name, content in (
        ("part", SMALL[: min(cut, len(SMALL) - 1)]),
        ("part.gz", packed[:cut]),
        ("longer", SMALL + rest),
        # Gzip allows zero bytes after its end, as tapes have them; they change nothing.
        ("longer.gz", packed + b"\x01" + rest),
        ("inside.gz", gzip.compress(SMALL + rest)),
        ("two.gz", packed + packed),
    ):
        assert "\n" not in error_of_reading(scratch / name, content)


@settings(deadline=None)
@given(position=st.integers(0, len(gzip.compress(SMALL)) - 1), change=st.integers(1, 255))
def test_a_changed_byte_in_gzip_data_never_gives_other_content(
    scratch: Path, position: int, change: int
) -> None:
    damaged = bytearray(gzip.compress(SMALL))
    damaged[position] ^= change
    path = scratch / "changed.gz"
    path.write_bytes(damaged)
    found = read_or_explain(path)
    assert isinstance(found, str) or found.tolist() == [[[1, 2, 3]], [[253, 254, 255]]]


@settings(deadline=None)
@given(st.binary(max_size=40).map(lambda rest: b"\0\0" + rest))
def test_any_bytes_are_an_array_or_one_line(scratch: Path, content: bytes) -> None:
    path = scratch / "any"
    path.write_bytes(content)
    found = read_or_explain(path)
    assert isinstance(found, str) or content.endswith(found.astype(IDX_TYPES[content[2]]).tobytes())


def test_the_end_is_checked_where_the_data_fills_whole_chunks(tmp_path: Path) -> None:
    content = pack_idx(0x08, (2, MIB), bytes(2 * MIB))
    packed = gzip.compress(content, compresslevel=1)
    assert error_of_reading(tmp_path / "x", content + b"\0").startswith("holds more after its header")
    damaged = packed[:-8] + bytes(8)
    assert error_of_reading(tmp_path / "x.gz", damaged).startswith("damaged gzip data (CRC check failed")
    (tmp_path / "x.gz").write_bytes(packed)
    assert read_idx(tmp_path / "x.gz").shape == (2, MIB)


@pytest.mark.parametrize("name", ["claim", "claim.gz"])
def test_a_header_that_claims_much_costs_no_memory(tmp_path: Path, name: str) -> None:
    content = pack_idx(0x08, (1024, MIB), b"few")
    content = gzip.compress(content) if name.endswith(".gz") else content
    tracemalloc.start()
    try:
        message = error_of_reading(tmp_path / name, content)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert message.startswith("holds 3 bytes after its header, which declares 1073741824 bytes")
    assert peak_bytes < 8 * MIB


def test_data_beyond_the_declared_is_not_unpacked(tmp_path: Path) -> None:
    content = gzip.compress(pack_labels(1, 2) + bytes(64 * MIB), compresslevel=1)
    tracemalloc.start()
    try:
        message = error_of_reading(tmp_path / "bomb.gz", content)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert message == f"holds more after its header, which declares 2 bytes (uint8 (2,)): {COPY_AGAIN}"
    assert peak_bytes < 8 * MIB


# Four files


def test_a_dataset_is_read_from_plain_and_compressed_files_of_any_image_size(tmp_path: Path) -> None:
    train, test = read_idx_dataset(write_dataset(tmp_path))
    assert train.examples.tolist() == np.arange(24).reshape(4, 2, 3).tolist()
    assert train.labels.tolist() == [7, 0, 1, 7]
    assert test.examples.tolist() == np.arange(12).reshape(2, 2, 3).tolist()
    assert test.labels.tolist() == [1, 7]
    assert train.examples.dtype == test.examples.dtype == np.uint8
    assert train.labels.dtype == test.labels.dtype == np.int64


def test_the_plain_file_is_read_where_both_are_there(tmp_path: Path) -> None:
    write_dataset(tmp_path)
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(pack_labels(3, 3, 3, 3))
    assert read_idx_dataset(tmp_path)[0].labels.tolist() == [3, 3, 3, 3]


def test_a_folder_that_is_missing_or_is_a_file_is_named(tmp_path: Path) -> None:
    gone, file = tmp_path / "gone", tmp_path / "file"
    file.touch()
    assert error_of_dataset(gone) == f"DATA_DIR={gone}: no such folder: {FOUR_FILES}"
    expected = f"DATA_DIR={file}: not a folder: expected a folder with the four IDX files"
    assert error_of_dataset(file) == expected
    assert error_of_dataset(file / "below") == f"DATA_DIR={file}/below: no such folder: {FOUR_FILES}"


@pytest.mark.parametrize(
    "name",
    [
        "train-images-idx3-ubyte",
        "train-labels-idx1-ubyte",
        "t10k-images-idx3-ubyte",
        "t10k-labels-idx1-ubyte",
    ],
)
def test_a_missing_file_is_named_before_any_file_is_read(tmp_path: Path, name: str) -> None:
    write_dataset(tmp_path)
    for path in tmp_path.iterdir():
        path.unlink() if path.name.startswith(name) else path.write_bytes(b"")
    assert error_of_dataset(tmp_path) == f"DATA_DIR={tmp_path}: {name}.gz or {name} not found: {FOUR_FILES}"


@pytest.mark.parametrize("function", ["exists", "iterdir", "is_file"])
def test_a_folder_that_may_not_be_entered_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: str
) -> None:
    def refuse(path: Path) -> bool:
        raise PermissionError(13, "Permission denied", str(path))

    # Simulated, because root may enter every folder.
    write_dataset(tmp_path)
    monkeypatch.setattr(Path, function, refuse)
    assert error_of_dataset(tmp_path) == (
        f"DATA_DIR={tmp_path}: cannot be read (Permission denied): {expected_readable()}"
    )


def test_a_damaged_file_of_a_dataset_is_named(tmp_path: Path) -> None:
    path = write_dataset(tmp_path) / "t10k-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-4])
    assert error_of_dataset(tmp_path) == (
        f"{path}: damaged gzip data (Compressed file ended before the end-of-stream marker was reached):"
        f" {COPY_AGAIN}"
    )


def test_counts_of_images_and_labels_that_differ_name_both_files(tmp_path: Path) -> None:
    write_dataset(tmp_path)
    (tmp_path / "t10k-labels-idx1-ubyte").write_bytes(pack_labels(1, 7, 1))
    assert error_of_dataset(tmp_path) == (
        f"{tmp_path}/t10k-images-idx3-ubyte.gz has 2 images,"
        f" but {tmp_path}/t10k-labels-idx1-ubyte has 3 labels: expected one label an image"
    )


def test_image_shapes_of_training_and_test_set_that_differ_name_both_files(tmp_path: Path) -> None:
    write_dataset(tmp_path)
    (tmp_path / "t10k-images-idx3-ubyte.gz").write_bytes(gzip.compress(pack_images(2, 3, 2)))
    assert error_of_dataset(tmp_path) == (
        f"{tmp_path}/train-images-idx3-ubyte has images of shape (2, 3),"
        f" but {tmp_path}/t10k-images-idx3-ubyte.gz of (3, 2): expected one shape"
    )


def test_content_that_is_not_what_the_name_says_is_named(tmp_path: Path) -> None:
    path = write_dataset(tmp_path) / "train-images-idx3-ubyte"
    path.write_bytes(pack_labels(1, 2))
    expected = f"{path}: holds uint8 of 1 dimensions: expected uint8 of 3, as its name says"
    assert error_of_dataset(tmp_path) == expected
    path.write_bytes(pack_idx(0x0B, (1, 1, 1), b"\0\0"))
    expected = f"{path}: holds int16 of 3 dimensions: expected uint8 of 3, as its name says"
    assert error_of_dataset(tmp_path) == expected


# Arrays of any origin


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
        pytest.param(np.eye(3, dtype=bool), id="several labels an example"),
        pytest.param(np.zeros((3, 2, 2), "u1"), id="masks"),
    ],
)
def test_labels_that_are_no_class_numbers_stay_as_they_are(labels: NDArray[Any]) -> None:
    dataset = make_dataset("set", np.zeros((3, 2)), labels)
    assert dataset.labels is labels
    assert not are_class_numbers(dataset.labels)
    assert len(dataset) == 3


@settings(deadline=None)
@given(numbers(min_dims=1, max_dims=1))
def test_labels_of_one_dimension_become_int64_exactly_where_it_holds_them_all(labels: NDArray[Any]) -> None:
    made = make_dataset("set", np.zeros(len(labels)), labels).labels
    # Python's own numbers, which are exact, say what numpy's cast must come to.
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


@pytest.mark.parametrize(
    ("examples", "labels", "message"),
    [
        (np.zeros((3, 2)), np.zeros(2), "set: 3 examples, but 2 labels: expected one label an example"),
        (np.zeros((2, 3)), np.zeros((3, 2)), "set: 2 examples, but 3 labels: expected one label an example"),
        (np.zeros((3, 2)), np.zeros(()), "set: labels have shape (): expected one row an example"),
        (np.zeros(()), np.zeros(1), "set: examples have shape (): expected one row an example"),
        (np.zeros((0, 2)), np.zeros(0), "set: empty, examples have shape (0, 2): expected at least one"),
        (np.zeros((2, 0)), np.zeros(2), "set: empty, examples have shape (2, 0): expected at least one"),
        (np.zeros((2, 1)), np.zeros(0), "set: empty, labels have shape (0,): expected at least one"),
        (np.zeros((2, 1)), np.zeros((2, 0)), "set: empty, labels have shape (2, 0): expected at least one"),
        (
            np.array(["a"]),
            np.zeros(1),
            "set: examples are of dtype <U1: expected numbers of at most 64 bits",
        ),
        (
            np.zeros(1),
            np.array([None]),
            "set: labels are of dtype object: expected numbers of at most 64 bits",
        ),
        (
            np.zeros(1),
            np.zeros(1, "c8"),
            "set: labels are of dtype complex64: expected numbers of at most 64 bits",
        ),
        (
            np.zeros(1),
            np.zeros(1, "M8[s]"),
            "set: labels are of dtype datetime64[s]: expected numbers of at most 64 bits",
        ),
        (
            np.zeros(1),
            np.zeros(1, np.longdouble),
            f"set: labels are of dtype {np.dtype(np.longdouble)}: expected numbers of at most 64 bits",
        ),
    ],
)
def test_arrays_that_make_no_dataset_are_one_line(
    examples: NDArray[Any], labels: NDArray[Any], message: str
) -> None:
    with pytest.raises(DataError) as caught:
        make_dataset("set", examples, labels)
    assert str(caught.value) == message


def test_what_is_no_numpy_array_is_one_line() -> None:
    with pytest.raises(DataError, match=r"^set: labels are of type list: expected a numpy array$"):
        make_dataset("set", np.zeros(1), [0])  # type: ignore[arg-type] # what a task without types may do


# The digest


def dataset_of(*labels: float, dtype: str = "i8") -> Dataset:
    return make_dataset("set", np.zeros(len(labels)), np.array(labels, dtype))


def digest_of(train: NDArray[Any], test: NDArray[Any]) -> str:
    return labels_sha256(*(make_dataset("set", np.zeros(len(labels)), labels) for labels in (train, test)))


def test_the_digest_is_over_counts_and_little_endian_int64_labels() -> None:
    packed = struct.pack("<QqqQq", 2, 258, -1, 1, 7)
    assert labels_sha256(dataset_of(258, -1), dataset_of(7)) == hashlib.sha256(packed).hexdigest()


def test_the_digest_does_not_depend_on_how_class_numbers_were_stored() -> None:
    expected = labels_sha256(dataset_of(3, 1), dataset_of(2))
    for dtype in ("u1", ">i4", "f4", ">f8"):
        assert labels_sha256(dataset_of(3, 1, dtype=dtype), dataset_of(2, dtype=dtype)) == expected


def test_the_digest_of_other_labels_is_over_dtype_shape_and_little_endian_rows() -> None:
    train, test = np.array([[1, 2], [3, 258]], ">i2"), np.array([0.5], ">f4")
    packed = b"<i2 (2, 2)" + struct.pack("<4h", 1, 2, 3, 258) + b"<f4 (1,)" + struct.pack("<f", 0.5)
    assert digest_of(train, test) == hashlib.sha256(packed).hexdigest()
    flags = np.array([[True, False]])
    packed = b"|b1 (1, 2)\1\0" + struct.pack("<Qq", 1, 7)
    assert digest_of(flags, np.array([7])) == hashlib.sha256(packed).hexdigest()


@settings(deadline=None)
@given(numbers(min_dims=1, max_dims=4), numbers(min_dims=1, max_dims=4))
def test_the_digest_does_not_depend_on_byte_order_or_memory_layout(
    train: NDArray[Any], test: NDArray[Any]
) -> None:
    expected = digest_of(train, test)
    assert digest_of(train.astype(train.dtype.newbyteorder()), np.asfortranarray(test)) == expected
    assert digest_of(np.repeat(train, 2, axis=0)[::2], test) == expected


def test_the_digest_tells_apart_what_the_same_bytes_mean() -> None:
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


def test_the_digest_tells_apart_values_of_other_labels() -> None:
    digests = {
        digest_of(np.array(train), np.array([0.5])) for train in ([0.5, 1], [1, 0.5], [0.5, 2], [0.5, np.nan])
    }
    assert len(digests) == 4


def test_the_digest_tells_apart_order_side_and_value() -> None:
    digests = [
        labels_sha256(dataset_of(*train), dataset_of(*test))
        for train, test in (((3, 1), (2,)), ((1, 3), (2,)), ((3,), (1, 2)), ((3, 1), (4,)), ((2,), (3, 1)))
    ]
    assert len(set(digests)) == len(digests)
