"""A look at a task's data before any server is asked: mistakes that MXNet trains on without a word."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from client.data import Dataset, are_class_numbers
from client.mx import gluon
from client.task import Task
from fedmx.errors import DataError

Sets = tuple[Dataset, Dataset]
_NAMES = ("training set", "test set")


def check_finite(task_name: str, sets: Sets) -> None:
    """Look for NaN and infinity in a task's training and test set.

    Raises:
        DataError: there is one.
    """
    for name, data in zip(_NAMES, sets, strict=True):
        for kind, rows in (("example", data.examples), ("label", data.labels)):
            row = _find_not_finite(rows)
            if row is not None:
                raise DataError(
                    f"TASK={task_name}: {name}: {kind} {row} has a value that is NaN or infinite;"
                    " expected finite numbers"
                )


def check_labels(task: Task, outputs: Any, sets: Sets) -> None:
    """Look for labels that softmax cross entropy takes for another class without a word.

    Args:
        task: other losses may take any labels.
        outputs: the model's, for some examples.
        sets: the training and the test set.

    Raises:
        DataError: there is one.
    """
    if not _takes_classes(task.loss):
        return
    classes = outputs.shape[-1]
    for name, data in zip(_NAMES, sets, strict=True):
        labels = data.labels
        low, high = labels.min(), labels.max()
        if labels.ndim == 1 and not (are_class_numbers(labels) and 0 <= low <= high < classes):
            raise DataError(
                f"TASK={task.name}: {name}: labels are {labels.dtype} from {low:g} to {high:g}; expected"
                f" whole numbers from 0 to {classes - 1}, as the outputs have {classes} columns, or another"
                " loss() than softmax cross entropy"
            )


def _takes_classes(loss: Any) -> bool:
    # Gluon has no public way to ask whether its labels are classes' numbers, or scores of all classes.
    return type(loss) is gluon.loss.SoftmaxCrossEntropyLoss and loss._sparse_label  # noqa: SLF001


def _find_not_finite(rows: NDArray[np.generic]) -> int | None:
    """Give the index of the first row with a value that is not finite."""
    if not np.issubdtype(rows.dtype, np.floating):
        return None
    with np.errstate(over="ignore", invalid="ignore"):
        if np.isfinite(rows.sum()):  # a tenth of the time of a look at each value, and no copy
            return None
    return next((index for index, row in enumerate(rows) if not np.isfinite(row).all()), None)
