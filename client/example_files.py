"""Reads files as inputs of a task's network: by the task's own function, or by their kind."""

from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from client import images, npz
from client.data.idx import read_idx
from client.data.image_files import is_image
from client.device import as_task_array, put
from client.images import ImageForm
from client.mx import mx
from client.task import Task
from client.task_errors import task_errors
from fedmx import arrays
from fedmx.errors import DataError
from fedmx.files import disk_errors

Inputs = tuple[mx.nd.NDArray, ...]

_ZIP = b"PK"
# An IDX file of images, and one that is compressed.
_IDX = (b"\0\0\x08\x03", b"\x1f\x8b")
_IMAGE_DIMENSIONS = 3


class ExampleFiles:
    """The files that a task's network can be applied to.

    Args:
        task: the network's task.
        data_dir: folder of its data, which determines how an image is converted to an input.
    """

    def __init__(self, task: Task, data_dir: Path) -> None:
        self._task = task
        self._data_dir = data_dir

    def read(self, path: Path) -> Inputs:
        """Return the examples of a file, on the CPU, as arrays that the task uses: (n, ...) for each input.

        Raises:
            DataError: the file cannot be read, or is not an example of the task.
            SettingsError: the task's code raises an exception.
        """
        return tuple(map(as_task_array, self._read(path)))

    def _read(self, path: Path) -> Inputs:
        with disk_errors(path, reads=True):
            data = path.read_bytes()
        if self._task.load_example is not None or self._task.load_examples is not None:
            return self._load_own(path)
        if data.startswith(_ZIP):
            return _read_inputs(path)
        if is_image(data):
            pixels = images.decode(path, data, self._form.channels)
        elif data.startswith(_IDX):
            pixels = read_idx(path, _IMAGE_DIMENSIONS)[..., None]
        else:
            raise DataError(
                f"{path}: not a PNG, JPEG, IDX or npz file; expected one of these, or load_example(path) in"
                f" TASK={self._task.name}"
            )
        return (put(self._form.convert(path, pixels), mx.cpu()),)

    @cached_property
    def _form(self) -> ImageForm:
        return images.find_form(self._task, self._data_dir)

    def _load_own(self, path: Path) -> Inputs:
        """Read the examples of a file with the task's own function."""
        if self._task.load_examples is not None:
            with task_errors(self._task.name, f"load_examples({str(path)!r})"):
                return tuple(map(_as_rows, _list_inputs(self._task.load_examples(path))))
        with task_errors(self._task.name, f"load_example({str(path)!r})"):
            example: Any = self._task.load_example(path)  # type: ignore[misc] # the caller has looked
            return tuple(_as_rows(column, is_one=True) for column in _list_inputs(example))


def _read_inputs(path: Path) -> Inputs:
    """Return the arrays of an npz file, in its order: one for each input, with one row per example."""
    found = {name: arrays.view(array) for name, array in npz.read(path).items()}
    counts = {len(rows) if rows.ndim else 0 for rows in found.values()}
    if len(counts) != 1 or counts == {0}:
        shapes = ", ".join(f"{name} {rows.shape}" for name, rows in found.items()) or "none"
        raise DataError(
            f"{path}: has the arrays {shapes}; expected one for each input of the network, each with one"
            " row per example"
        )
    return tuple(put(rows, mx.cpu()) for rows in found.values())


def _list_inputs(examples: Any) -> tuple[Any, ...]:
    return examples if isinstance(examples, tuple) else (examples,)


def _as_rows(value: Any, *, is_one: bool = False) -> mx.nd.NDArray:
    rows = value.asnumpy() if isinstance(value, mx.nd.NDArray) else np.asarray(value)
    return put(rows[None] if is_one else rows, mx.cpu())
