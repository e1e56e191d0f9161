"""Files that `predict` reads: images, IDX and npz files that fit the training set, and those that do not."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from client import images
from client.__main__ import main
from client.data import Dataset
from client.png import encode
from fedmx.errors import DataError, SettingsError
from tests.client.given.pixels import GREY, PIXELS, as_idx, save
from tests.client.given.saved_runs import IMAGES, Workplace
from tests.client.given.small import make_task


def find_form(examples: NDArray[Any]) -> images.ImageForm:
    """Return how an image becomes an input beside a training set of these examples."""
    data = Dataset(examples, np.zeros(len(examples), np.int64))
    task = replace(make_task(), load_data=lambda _: (data, data))
    return images.find_form(task, Path())


@pytest.mark.parametrize(
    ("examples", "convert"),
    [
        (np.full((9, 6, 5), 255, np.uint8), lambda grey, _: grey),
        (np.full((9, 6, 5), 200.0), lambda grey, _: grey),
        (np.full((9, 6, 5, 1), 0.5), lambda grey, _: grey[..., None] / np.float32(255)),
        (np.full((9, 1, 6, 5), 1.0), lambda grey, _: grey[None] / np.float32(255)),
        (np.full((9, 3, 6, 5), 0.5), lambda _, color: color.transpose(2, 0, 1) / np.float32(255)),
        (np.full((9, 6, 5, 3), 77, np.int64), lambda _, color: color),
        (np.full((9, 6, 5), 0.5, np.float16), lambda grey, _: (grey / np.float32(255)).astype(np.float16)),
    ],
)
def test_an_image_gets_the_layout_and_the_scale_of_the_training_set(
    examples: NDArray[Any], convert: Callable[[NDArray[Any], NDArray[Any]], NDArray[Any]]
) -> None:
    form = find_form(examples)
    path = Path("one.png")
    # OpenCV's weights of red, green and blue are for images of equal channels the identity.
    pixels = PIXELS if form.channels == 3 else GREY
    found = form.convert(path, images.decode(path, encode(pixels), form.channels))
    expected = convert(GREY[..., 0], PIXELS)
    assert found.dtype == (np.float32 if examples.dtype == np.float64 else examples.dtype)
    assert (found == expected[None]).all()
    if form.channels == 3:
        repeated = form.convert(path, GREY[None, ..., :1])
        assert (repeated == convert(GREY[..., 0], GREY)[None]).all()


@pytest.mark.parametrize(
    ("examples", "part"),
    [
        (np.full((9, 1, 6, 5), -0.5), "from -0.5 to -0.5"),
        (np.full((9, 1, 6, 5), 1.5), "from 1.5 to 1.5"),
        (np.full((9, 30), 0.5), "shape (30,), which are not images"),
        (np.full((9, 4, 6, 5), 0.5), "shape (4, 6, 5), which are not images"),
    ],
)
def test_a_training_set_with_an_unknown_scale_is_rejected(examples: NDArray[Any], part: str) -> None:
    with pytest.raises(DataError) as caught:
        find_form(examples)
    assert part in str(caught.value)
    assert "load_example(path)" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "part"),
    [
        ("large.png", encode(np.zeros((7, 5, 3), np.uint8)), "5 x 7 pixels"),
        ("short.png", encode(PIXELS)[:-20], "truncated"),
        ("short.jpg", b"\xff\xd8\xff\xe0" + bytes(3000), "truncated"),
        ("junk.jpg", b"\xff\xd8\xff\xe0" + bytes(100) + b"\xff\xd9", "damaged"),
        ("a.txt", b"hello", "not a PNG, JPEG, IDX or npz file"),
        ("empty", b"", "not a PNG, JPEG, IDX or npz file"),
        ("labels-idx1-ubyte", b"\0\0\x08\x01" + bytes(8), "not a PNG, JPEG, IDX or npz file"),
        ("short-idx3-ubyte", as_idx(PIXELS[None, ..., 0])[:-1], "copy the file again"),
        ("zip.npz", b"PK\x03\x04" + bytes(50), "cannot be read"),
    ],
)
def test_a_wrong_file_is_one_line(workplace: Workplace, name: str, content: bytes, part: str) -> None:
    save(workplace, "images", IMAGES, (2, 1, 6, 5))
    Path(name).write_bytes(content)
    with pytest.raises(DataError) as caught:
        main(["predict", "latest", name])
    (line,) = str(caught.value).splitlines()
    assert line.startswith(name)
    assert part in line


@pytest.mark.parametrize(
    ("arrays", "part"),
    [
        ({}, "none"),
        ({"a": np.zeros((2, 1, 6, 5)), "b": np.zeros(3)}, "a (2, 1, 6, 5), b (3,)"),
        ({"a": np.array(["text"])}, "not an npy file of numbers"),
        ({"a": np.array([{}], dtype=object)}, "not an npy file of numbers"),
        ({"a": np.zeros((2, 7), np.float32)}, "float32 (2, 7)"),
        ({"a": np.zeros((2, 1, 6, 5)), "b": np.zeros(2)}, "the network"),
    ],
)
def test_an_npz_file_that_does_not_fit_is_one_line(
    workplace: Workplace, arrays: dict[str, NDArray[Any]], part: str
) -> None:
    save(workplace, "images", IMAGES, (2, 1, 6, 5))
    np.savez("some.npz", **arrays)
    with pytest.raises((DataError, SettingsError)) as caught:
        main(["predict", "latest", "some.npz"])
    (line,) = str(caught.value).splitlines()
    assert part in line
    assert "some.npz" in line


def test_a_missing_file_is_one_line(workplace: Workplace) -> None:
    save(workplace, "images", IMAGES, (2, 1, 6, 5))
    with pytest.raises(DataError, match=r"gone\.png: cannot be read"):
        main(["predict", "latest", "gone.png"])
