"""Datasets of labels, and their check against a loss."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from client.data import Dataset, make_dataset
from client.data_checks import check_labels
from client.mx import mx
from client.task import Loss
from fedmx.errors import DataError
from tests.client.given.small import make_task

FINE = make_dataset("fine", np.ones((4, 2)), np.array([0, 1, 2, 3]))


def error_of(check: Callable[[], None]) -> str:
    """Return the message of a check, which is one line with exit code 2."""
    with pytest.raises(DataError) as caught:
        check()
    assert caught.value.exit_code == 2
    message = str(caught.value)
    assert "\n" not in message
    return message


def of_labels(labels: Any) -> Dataset:
    """Return a dataset with these labels."""
    values = np.asarray(labels)
    return make_dataset("labels", np.ones((len(values), 2)), values)


def check(loss: Loss, outputs: tuple[int, ...], *sets: Dataset) -> None:
    """Check the labels of one or two sets against a loss of outputs with this shape."""
    check_labels(make_task(loss), mx.nd.random.normal(shape=outputs), (sets[0], sets[-1]))
