"""Class folders: which images are in a dataset, with which numbers, and the error of each wrong folder."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from client.data import ImageFolder, load_image_folders
from client.data.lazy import find_labels, list_labels
from client.mx import gluon
from client.png import encode
from fedmx.errors import DataError
from tests.client.given.pictures import BASELINE, draw, write_classes
from tests.strangers import UID, run_as_stranger

PNG = encode(draw(0))


def error_of(folder: Path) -> str:
    with pytest.raises(DataError) as caught:
        load_image_folders(folder)
    message = str(caught.value)
    assert message.startswith(str(folder))
    assert "\n" not in message
    return message


def test_an_item_is_the_image_and_the_number_of_its_class(tmp_path: Path) -> None:
    write_classes(tmp_path, dog=2, cat=3)
    data = ImageFolder(tmp_path)
    assert data.classes == ("cat", "dog")
    assert data.labels.tolist() == [0, 0, 0, 1, 1]
    image, label = data[3]
    assert (label, image.dtype) == (1, np.uint8)
    assert (image.asnumpy() == draw(0)).all()


def test_numbers_follow_the_given_classes_and_other_images_are_counted_in_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_classes(tmp_path, dog=2, cat=3, bird=4)
    data = ImageFolder(tmp_path, ["fox", "dog", "bird"])
    assert data.classes == ("fox", "dog", "bird")
    assert data.labels.tolist() == [2, 2, 2, 2, 1, 1]
    (record,) = [each for each in caplog.records if "other classes" in each.getMessage()]
    assert record.levelname == "WARNING"
    assert "images=3" in record.getMessage()
    assert "cat" in record.getMessage()


def test_a_folder_without_any_of_the_classes_is_an_error(tmp_path: Path) -> None:
    write_classes(tmp_path, dog=2)
    with pytest.raises(DataError, match=r"has images of dog; expected some of cat, fox"):
        ImageFolder(tmp_path, ["cat", "fox"])


def test_labels_are_known_without_reading_an_image(tmp_path: Path) -> None:
    write_classes(tmp_path, dog=2, cat=3)
    data = ImageFolder(tmp_path)
    for path in data.paths:
        path.unlink()
    assert find_labels(data.transform_first(lambda image: image)).tolist() == [0, 0, 0, 1, 1]
    assert list_labels(data.transform(lambda image, label: (image, label)), "set").tolist() == [0, 0, 0, 1, 1]


def test_a_fixed_share_of_each_class_is_for_testing(tmp_path: Path) -> None:
    write_classes(tmp_path, cat=40, dog=2, fox=9)
    data = ImageFolder(tmp_path)
    train, test = load_image_folders(tmp_path)
    assert sorted([*train.paths, *test.paths]) == sorted(data.paths)
    assert np.bincount(test.labels).tolist() == [8, 1, 2]
    assert np.bincount(train.labels).tolist() == [32, 1, 7]
    again, _ = load_image_folders(tmp_path)
    assert again.paths == train.paths
    for path, label in zip(test.paths, test.labels, strict=True):
        assert path.parent.name == data.classes[label]


def test_folders_train_and_test_are_used_if_both_exist(tmp_path: Path) -> None:
    write_classes(tmp_path / "train", cat=3, dog=3)
    write_classes(tmp_path / "test", dog=1)
    train, test = load_image_folders(tmp_path)
    assert (train.labels.tolist(), test.labels.tolist()) == ([0, 0, 0, 1, 1, 1], [1])
    assert train.classes == test.classes


def test_hidden_files_are_skipped(tmp_path: Path) -> None:
    write_classes(tmp_path, cat=2, dog=2)
    for name in (".DS_Store", "cat/.DS_Store", "cat/Thumbs.db", "dog/._000.png"):
        (tmp_path / name).write_bytes(b"no image")
    (tmp_path / ".git").mkdir()
    (tmp_path / "README.txt").write_text("what is here")
    assert len(ImageFolder(tmp_path)) == 4


def test_a_name_that_two_file_systems_write_differently_is_one_class(tmp_path: Path) -> None:
    # The accent is in the letter, or follows it.
    names = ("caf\u00e9", "cafe\u0301")
    for count, name in enumerate(names, 2):
        write_classes(tmp_path, new=count)
        (tmp_path / "new").rename(tmp_path / name)
    data = ImageFolder(tmp_path)
    assert (data.classes, len(data)) == (("caf\u00e9",), 5)


def test_a_rare_class_is_refused_or_left_out_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_classes(tmp_path, cat=2, dog=1, fox=3)
    assert "'dog' has 1 image" in error_of(tmp_path)
    train, test = load_image_folders(tmp_path, rare="other")
    assert train.classes == ("cat", "fox")
    assert len(train) + len(test) == 5
    (record,) = [each for each in caplog.records if "rare classes" in each.getMessage()]
    assert "images=1" in record.getMessage()


def add_fifo(folder: Path) -> None:
    os.mkfifo(folder / "cat" / "pipe.png")


READ_IMPORTS = "from client.data import ImageFolder\nfrom fedmx.errors import DataError\n"
READ = """
try:
    ImageFolder(sys.argv[1])
except DataError as error:
    print(error)
"""
Spoil = Callable[[Path], object]


@pytest.mark.parametrize(
    ("spoil", "file", "part"),
    [
        (lambda f: (f / "one.png").write_bytes(PNG), "one.png", "outside of a class folder"),
        (lambda f: (f / "fox").mkdir(), "fox", "no images"),
        (lambda f: (f / "cat" / "a.csv").write_text("1,2"), "cat/a.csv", "not a PNG or JPEG"),
        (lambda f: (f / "cat" / "a.png").write_bytes(PNG[:-30]), "cat/a.png", "truncated"),
        (lambda f: (f / "cat" / "a.jpg").write_bytes(BASELINE[:-30]), "cat/a.jpg", "truncated"),
        (lambda f: (f / "cat" / "a.jpg").write_bytes(b""), "cat/a.jpg", "an empty file"),
        (lambda f: (f / "cat" / "more").mkdir(), "cat/more", "a folder"),
        (lambda f: (f / "cat" / "a.png").symlink_to("gone.png"), "cat/a.png", "gone.png"),
        (lambda f: (f / "fox").symlink_to("gone"), "fox", "gone"),
        (add_fifo, "cat/pipe.png", "not a file"),
    ],
)
def test_a_wrong_file_is_one_line_with_its_path(tmp_path: Path, spoil: Spoil, file: str, part: str) -> None:
    write_classes(tmp_path, cat=3, dog=3)
    spoil(tmp_path)
    message = error_of(tmp_path)
    assert message.startswith(f"{tmp_path}/{file}: ")
    assert part in message


def test_a_folder_without_class_folders_is_one_line(tmp_path: Path) -> None:
    assert "no class folders" in error_of(tmp_path)
    assert "cannot be read" in error_of(tmp_path / "nowhere")
    (tmp_path / os.fsdecode(b"caf\xe9")).mkdir()
    with pytest.raises(DataError, match="UTF-8"):
        load_image_folders(tmp_path)


def test_a_file_that_this_user_cannot_read_is_one_line() -> None:
    # Every user may enter this folder, unlike pytest's own.
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        write_classes(folder, cat=3)
        secret = folder / "cat" / "001.png"
        secret.chmod(0)
        printed = run_as_stranger(READ_IMPORTS, READ, folder)
    assert printed.startswith(f"{secret}: cannot be read: Permission denied")
    assert f"uid {UID}" in printed


def test_an_image_that_is_replaced_during_a_run_is_one_line(tmp_path: Path) -> None:
    write_classes(tmp_path, cat=3)
    data = ImageFolder(tmp_path)
    data.paths[1].write_bytes(PNG[:-30])
    with pytest.raises(DataError, match=r"001\.png: the image is truncated"):
        data[1]


def test_gluons_transforms_and_loader_read_the_dataset(tmp_path: Path) -> None:
    write_classes(tmp_path, cat=3, dog=3)
    transforms = gluon.data.vision.transforms
    data = ImageFolder(tmp_path).transform_first(transforms.ToTensor())
    ((images, labels),) = gluon.data.DataLoader(data, 6)
    assert images.shape == (6, 3, 8, 8)
    assert labels.asnumpy().tolist() == [0, 0, 0, 1, 1, 1]
