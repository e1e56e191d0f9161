"""IDX files: which four make a dataset, what they contain, and the error of each wrong file."""

import gzip
import hashlib
import re
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from client.data import Dataset
from client.data.idx import read_idx_dataset
from fedmx.errors import DataError

MNIST = Path(__file__).parents[3] / "data" / "mnist"
OWN = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
DOTTED = tuple(name.replace("-idx", ".idx") for name in OWN)
LETTERS = tuple(f"emnist-letters-{name.replace('t10k', 'test')}" for name in OWN)
DIGITS = tuple(name.replace("letters", "digits") for name in LETTERS)
AGAIN = "copy the file again"


def pack(*shape: int, code: int = 8) -> bytes:
    """Pack bytes that count up from 0."""
    header = bytes([0, 0, code, len(shape)]) + struct.pack(f">{len(shape)}I", *shape)
    return header + bytes(i % 256 for i in range(int(np.prod(shape))))


CONTENTS = (pack(4, 2, 3), pack(4), pack(2, 2, 3), pack(2))
IMAGES = CONTENTS[0]


def write_dataset(folder: Path, names: tuple[str, ...] = OWN) -> None:
    for name, content in zip(names, CONTENTS, strict=True):
        (folder / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)


def error_of(folder: Path) -> str:
    with pytest.raises(DataError) as caught:
        read_idx_dataset(folder)
    message = str(caught.value)
    assert "\n" not in message
    return message


def error_of_images(folder: Path, content: bytes, suffix: str = "") -> str:
    """Return the error of a training set whose images have this content, without the file's path."""
    write_dataset(folder)
    path = folder / f"{OWN[0]}{suffix}"
    (folder / OWN[0]).unlink()
    path.write_bytes(content)
    message = error_of(folder)
    assert message.startswith(f"{path}: ")
    path.unlink()
    return message.removeprefix(f"{path}: ")


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("idx")


# MNIST


@pytest.fixture(scope="module")
def mnist() -> tuple[Dataset, Dataset]:
    return read_idx_dataset(MNIST)


def test_mnist_has_its_known_label_counts(mnist: tuple[Dataset, Dataset]) -> None:
    train, test = (np.bincount(dataset.labels).tolist() for dataset in mnist)
    assert train == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert test == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]


def test_mnist_images_are_the_bytes_of_the_files_in_their_order(mnist: tuple[Dataset, Dataset]) -> None:
    for dataset, name, count in zip(mnist, ("train", "t10k"), (60_000, 10_000), strict=True):
        assert dataset.examples.shape == (count, 28, 28)
        content = gzip.decompress((MNIST / f"{name}-images-idx3-ubyte.gz").read_bytes())
        assert dataset.examples.tobytes() == content[16:]


def test_a_folder_may_be_text() -> None:
    assert len(read_idx_dataset(str(MNIST))[1].labels) == 10000


def test_the_digests_in_the_readme_are_those_of_the_files() -> None:
    row = r"^\| `(\S+)` \| `([0-9a-f]{64})` \| `([0-9a-f]{64})` \|$"
    table = re.findall(row, (MNIST / "README.md").read_text(), re.MULTILINE)
    assert sorted(name for name, _, _ in table) == sorted(path.name for path in MNIST.glob("*ubyte*"))
    for name, of_file, of_content in table:
        packed = (MNIST / name).read_bytes()
        assert hashlib.sha256(packed).hexdigest() == of_file
        assert hashlib.sha256(gzip.decompress(packed)).hexdigest() == of_content


# Names


@pytest.mark.parametrize(
    "names",
    [
        OWN,
        tuple(f"{name}.gz" for name in OWN),
        (DOTTED[0], f"{DOTTED[1]}.gz", f"{OWN[2]}.gz", OWN[3].replace("t10k", "test")),
        tuple(f"kmnist_{name}" for name in DOTTED),
        tuple(f"{name}.gz" for name in DIGITS),
    ],
    ids=lambda names: names[0],
)
def test_a_dataset_of_the_usual_names_is_read_plain_and_compressed(
    tmp_path: Path, names: tuple[str, ...]
) -> None:
    write_dataset(tmp_path, names)
    for other in ("README.md", "train-images-idx3-ubyte.part", "train-labels-idx2-int", "images-idx3-ubyte"):
        (tmp_path / other).touch()
    train, test = read_idx_dataset(tmp_path)
    assert train.examples.tolist() == np.arange(24).reshape(4, 2, 3).tolist()
    assert test.examples.tolist() == np.arange(12).reshape(2, 2, 3).tolist()
    assert (train.labels.tolist(), test.labels.tolist()) == ([0, 1, 2, 3], [0, 1])
    assert train.examples.dtype == np.uint8
    assert train.labels.dtype == np.int64
    train.examples[0] = 9


def test_a_plain_file_and_mnists_own_names_come_first(tmp_path: Path) -> None:
    for names in (OWN, tuple(f"{name}.gz" for name in OWN), LETTERS, DIGITS):
        write_dataset(tmp_path, names)
    (tmp_path / OWN[1]).write_bytes(pack(4)[:8] + b"\3\3\3\3")
    assert read_idx_dataset(tmp_path)[0].labels.tolist() == [3, 3, 3, 3]
    for name in (OWN[2], f"{OWN[2]}.gz"):
        (tmp_path / name).unlink()
    assert f"DATA_DIR={tmp_path}: {OWN[2]} or {OWN[2]}.gz not found; expected " in error_of(tmp_path)


@pytest.mark.parametrize("names", [OWN, DOTTED, LETTERS], ids=lambda names: names[0])
@pytest.mark.parametrize("index", range(4))
def test_a_missing_file_is_named_before_any_file_is_read(
    tmp_path: Path, names: tuple[str, ...], index: int
) -> None:
    for name in names[:index] + names[index + 1 :]:
        (tmp_path / name).touch()
    (tmp_path / names[index]).mkdir()
    assert f"{OWN[index]} or {OWN[index]}.gz not found" in error_of(tmp_path)


@pytest.mark.parametrize(
    ("names", "found"),
    [
        ((*OWN, f"{DOTTED[1]}.gz"), f"2 files for {OWN[1]} ({OWN[1]}, {DOTTED[1]})"),
        ((*OWN, "test-images-idx3-ubyte"), f"({OWN[2]}, test-images-idx3-ubyte)"),
        ((*LETTERS[:2], *DIGITS[2:]), "2 datasets (emnist-digits, emnist-letters)"),
    ],
)
def test_several_files_for_one_are_all_named(tmp_path: Path, names: tuple[str, ...], found: str) -> None:
    for name in names:
        (tmp_path / name).touch()
    assert found in error_of(tmp_path)


# Errors of a folder or a file


def test_a_folder_that_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    for name, reason in (("gone", "No such file or directory"), ("file", "Not a directory")):
        assert error_of(tmp_path / name).startswith(
            f"DATA_DIR={tmp_path / name}: cannot be read ({reason}); expected the four files of "
        )

    def refuse(path: Path, *_: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    # Simulated, because root may read everything.
    write_dataset(tmp_path)
    for function, place in (("read_bytes", tmp_path / OWN[0]), ("iterdir", f"DATA_DIR={tmp_path}")):
        monkeypatch.setattr(Path, function, refuse)
        assert error_of(tmp_path).startswith(f"{place}: cannot be read (Permission denied); expected ")
        assert "(uid " in error_of(tmp_path)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "starts with nothing; expected 00 00 08 03"),
        (b"<html>", "starts with 3c 68 74 6d; expected 00 00 08 03"),
        (pack(4, 2, 3, code=0x0D), "starts with 00 00 0d 03; expected 00 00 08 03"),
        (pack(24), "starts with 00 00 08 01; expected 00 00 08 03"),
        (IMAGES[:15], "starts with 00 00 08 03; expected 00 00 08 03 and 3 dimensions"),
        (IMAGES[:-1], "23 bytes after the header; expected at least 1, and 24 for its shape (4, 2, 3)"),
        (IMAGES + b"\0", "25 bytes after the header; expected at least 1, and 24 for its shape (4, 2, 3)"),
        (pack(0, 2, 3), "0 bytes after the header; expected at least 1, and 0 for its shape (0, 2, 3)"),
    ],
)
def test_a_file_that_is_not_whole_or_of_another_kind_is_named(
    tmp_path: Path, content: bytes, problem: str
) -> None:
    assert error_of_images(tmp_path, content).startswith(problem)
    assert error_of_images(tmp_path, gzip.compress(content), ".gz").startswith(problem)


# Without a time, so that every process collects the same parameters.
PACKED = gzip.compress(IMAGES, mtime=0)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (PACKED[:-1], "Compressed file ended before the end-of-stream marker was reached"),
        (PACKED[:-8] + bytes(4) + PACKED[-4:], "CRC check failed"),
        (PACKED[:10] + b"\x07" + PACKED[11:], "Error -3 while decompressing data"),
        (PACKED + b"rest", "Not a gzipped file"),
        (IMAGES, "Not a gzipped file"),
    ],
)
def test_damaged_gzip_data_is_an_error_with_its_reason(tmp_path: Path, content: bytes, reason: str) -> None:
    message = error_of_images(tmp_path, content, ".gz")
    assert message.startswith(f"damaged gzip data ({reason}")
    assert message.endswith(AGAIN)


def test_a_compressed_file_without_its_ending_is_an_error_that_says_so(tmp_path: Path) -> None:
    assert error_of_images(tmp_path, PACKED).endswith("or .gz at the end of its name")


@settings(deadline=None)
@given(position=st.integers(0, len(PACKED) - 1), change=st.integers(1, 255))
def test_a_changed_byte_in_gzip_data_never_changes_what_is_read(
    scratch: Path, position: int, change: int
) -> None:
    write_dataset(scratch, (f"{OWN[0]}.gz", *OWN[1:]))
    damaged = bytearray(PACKED)
    damaged[position] ^= change
    (scratch / f"{OWN[0]}.gz").write_bytes(damaged)
    try:
        train, _ = read_idx_dataset(scratch)
    except DataError:
        return
    assert train.examples.tolist() == np.arange(24).reshape(4, 2, 3).tolist()


# Files that do not belong together


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        (OWN[3], pack(3), "has 2 images, but {} has 3 labels"),
        (OWN[2], pack(2, 3, 2), "has images of shape (2, 3), but {} of (3, 2)"),
    ],
)
def test_files_that_do_not_belong_together_are_both_named(
    tmp_path: Path, name: str, content: bytes, problem: str
) -> None:
    write_dataset(tmp_path)
    (tmp_path / name).write_bytes(content)
    assert problem.format(tmp_path / name) in error_of(tmp_path)
