"""Converts images to inputs of a network, in the form that the examples of the training set have.

Size, layout and scale are taken from these examples; nothing is resized or guessed.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from client.batches import read_batch
from client.data.image_files import COLOR, GREY, decode_image
from client.mx import mx
from client.seeding import seed_all
from client.task import Task
from client.task_errors import task_errors
from fedmx.errors import DataError

Rows = NDArray[Any]

_SAMPLE = 64
_WHITE = 255
_PLANE, _STACK = 2, 3
_OWN = "or load_example(path) in the task"


@dataclass(frozen=True)
class ImageForm:
    """The form in which a training set contains images.

    Attributes:
        shape: shape of one example: rows and columns, with or without channels before or after them.
        dtype: dtype of the network's input.
        divisor: number by which values from 0 to 255 are divided.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    divisor: int

    @property
    def has_channels_first(self) -> bool:
        """Whether the channels come before rows and columns."""
        return len(self.shape) == _STACK and self.shape[0] in (GREY, COLOR)

    @property
    def channels(self) -> int:
        """1 for grey, 3 for red, green and blue."""
        if len(self.shape) == _PLANE:
            return GREY
        return self.shape[0] if self.has_channels_first else self.shape[2]

    def convert(self, path: Path, images: NDArray[np.uint8]) -> Rows:
        """Convert images to inputs.

        Args:
            path: the file, for errors.
            images: uint8 (n, rows, columns, channels).

        Returns:
            (n, *shape) in the form's dtype.

        Raises:
            DataError: their size is not that of the examples.
        """
        rows = images if images.shape[3] == self.channels else np.repeat(images, self.channels, axis=3)
        rows = np.moveaxis(rows, 3, 1) if self.has_channels_first else rows
        rows = rows[..., 0] if len(self.shape) == _PLANE else rows
        if rows.shape[1:] != self.shape:
            height, width = images.shape[1:3]
            raise DataError(
                f"{path}: {width} x {height} pixels, an input of shape {rows.shape[1:]}; expected"
                f" {self.shape}, as in the training set: resize the image, {_OWN}"
            )
        # Divided in float32, as most loaders do.
        return (rows.astype(np.float32) / self.divisor).astype(self.dtype)


def find_form(task: Task, data_dir: Path) -> ImageForm:
    """Infer the form of images from some examples of the training set.

    Raises:
        DataError: the examples are not images, or it is unknown how they were scaled.
    """
    seed_all(0)
    try:
        train, _ = task.load_data(data_dir)
    except DataError as error:
        raise DataError(
            f"{error}: an image is converted to the form of those in the training set; set DATA_DIR, {_OWN}"
        ) from None
    chosen = np.linspace(0, len(train) - 1, min(_SAMPLE, len(train))).astype(np.int64)
    with task_errors(task.name, "a batch of its examples"):
        inputs = read_batch(train, chosen, mx.cpu()).inputs
    shapes = [array.shape[1:] for array in inputs]
    shape, *others = shapes
    is_stack = len(shape) == _STACK and {shape[0], shape[2]} & {GREY, COLOR}
    if others or not (is_stack or len(shape) == _PLANE):
        listed = ", ".join(map(str, shapes))
        raise DataError(
            f"TASK={task.name}: its training set has examples of shape {listed}, which are not images;"
            f" expected npz files of inputs, {_OWN}"
        )
    sample = inputs[0].asnumpy()
    return ImageForm(shape, sample.dtype, _find_divisor(task, sample))


def decode(path: Path, data: bytes, channels: int) -> NDArray[np.uint8]:
    """Decode PNG or JPEG.

    Args:
        path: the file, for errors.
        data: its content.
        channels: 1 to convert colors to grey, 3 to repeat grey.

    Returns:
        uint8 (1, rows, columns, channels).

    Raises:
        DataError: the content is damaged.
    """
    pixels: NDArray[np.uint8] = decode_image(path, data, channels).asnumpy()[None]
    return pixels


def _find_divisor(task: Task, sample: Rows) -> int:
    """Return the number by which an image's values are divided to have the range of some examples."""
    if sample.dtype.kind in "ui":
        return 1
    least, most = float(sample.min()), float(sample.max())
    if least >= 0 and most <= 1:
        return _WHITE
    if least >= 0 and most <= _WHITE and (sample == np.floor(sample)).all():
        return 1
    raise DataError(
        f"TASK={task.name}: the images of its training set have values from {least:.3g} to {most:.3g};"
        " expected 0 to 1, or whole numbers from 0 to 255: for another conversion, define"
        " load_example(path) in the task"
    )
