"""Which files of a folder are a dataset's four, under the names by which such datasets are handed out."""

import gzip
from pathlib import Path

import pytest

from client.data import read_idx_dataset
from client.mnist_files import find_four
from fedmx.errors import DataError

OWN = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
DOTTED = tuple(name.replace("-idx", ".idx") for name in OWN)
LETTERS = tuple(f"emnist-letters-{name.replace('t10k', 'test')}" for name in OWN)
DIGITS = tuple(name.replace("letters", "digits") for name in LETTERS)


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).touch()


def find(folder: Path) -> list[str]:
    return [path.name for path in find_four(folder)]


def words_of(folder: Path) -> str:
    with pytest.raises(DataError) as caught:
        find_four(folder)
    assert caught.value.exit_code == 2
    words = str(caught.value)
    assert words.startswith(f"DATA_DIR={folder}: ")
    assert "\n" not in words
    return words


@pytest.mark.parametrize(
    "names",
    [
        OWN,
        DOTTED,
        tuple(name.replace("t10k", "test") for name in OWN),
        tuple(f"qmnist-{name.replace('t10k', 'test')}" for name in OWN),
        tuple(f"kmnist_{name}" for name in DOTTED),
        DIGITS,
        (OWN[0], DOTTED[1], *OWN[2:]),
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_the_usual_names_are_found_plain_and_compressed(
    tmp_path: Path, names: tuple[str, ...], suffix: str
) -> None:
    files = [f"{name}{suffix}" for name in names]
    touch(tmp_path, *files, "README.md", "train.csv", "train-images-idx3-ubyte.part", "train-labels-idx2-int")
    assert find(tmp_path) == files


def test_what_is_found_under_another_name_is_read(tmp_path: Path) -> None:
    images = bytes.fromhex("00000803 00000002 00000001 00000001 05 06")
    labels = bytes.fromhex("00000801 00000002 01 00")
    for name, content in zip(DIGITS, (images, labels) * 2, strict=True):
        (tmp_path / f"{name}.gz").write_bytes(gzip.compress(content))
    train, test = read_idx_dataset(tmp_path)
    assert train.examples.tolist() == test.examples.tolist() == [[[5]], [[6]]]
    assert train.labels.tolist() == test.labels.tolist() == [1, 0]


def test_the_plain_one_of_two_forms_is_found(tmp_path: Path) -> None:
    touch(tmp_path, *DOTTED, *(f"{name}.gz" for name in DOTTED))
    assert find(tmp_path) == list(DOTTED)


def test_mnists_own_names_come_before_those_with_a_datasets_name(tmp_path: Path) -> None:
    touch(tmp_path, *LETTERS, *DIGITS, *OWN)
    assert find(tmp_path) == list(OWN)
    (tmp_path / OWN[2]).unlink()
    assert OWN[2] in words_of(tmp_path)


def test_a_folder_of_a_files_name_is_no_file(tmp_path: Path) -> None:
    (tmp_path / OWN[0]).mkdir()
    touch(tmp_path, *DOTTED)
    assert find(tmp_path) == list(DOTTED)


@pytest.mark.parametrize(
    "other", ["train-labels.idx1-ubyte", "train-labels.idx1-ubyte.gz"], ids=("plain", "compressed")
)
def test_two_names_for_one_file_are_both_named(tmp_path: Path, other: str) -> None:
    touch(tmp_path, *OWN, other)
    words = words_of(tmp_path)
    assert f"2 files for train-labels ({OWN[1]}, {other})" in words


def test_t10k_and_test_are_two_names_for_one_file(tmp_path: Path) -> None:
    touch(tmp_path, *OWN, "test-images-idx3-ubyte")
    assert "(t10k-images-idx3-ubyte, test-images-idx3-ubyte)" in words_of(tmp_path)


def test_files_of_several_datasets_are_not_mixed(tmp_path: Path) -> None:
    touch(tmp_path, *LETTERS[:2], *DIGITS[2:])
    assert "2 datasets (emnist-digits, emnist-letters)" in words_of(tmp_path)


@pytest.mark.parametrize("index", range(4))
@pytest.mark.parametrize("names", [OWN, DOTTED], ids=("own", "dotted"))
def test_a_missing_file_is_named(tmp_path: Path, names: tuple[str, ...], index: int) -> None:
    touch(tmp_path, *(name for name in names if name != names[index]))
    assert f"{OWN[index]}.gz or {OWN[index]} not found" in words_of(tmp_path)


def test_an_empty_folder_lacks_the_first(tmp_path: Path) -> None:
    assert f"{OWN[0]} not found" in words_of(tmp_path)


def test_images_and_labels_must_have_their_own_number_of_dimensions(tmp_path: Path) -> None:
    touch(tmp_path, *OWN[1:], "train-images-idx1-ubyte")
    assert f"{OWN[0]} not found" in words_of(tmp_path)
