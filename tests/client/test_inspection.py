"""Data that MXNet would train on without a word, and the one line that it gives instead."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from client.data import Dataset, make_dataset
from client.inspection import check_finite, check_labels
from client.mx import gluon, mx
from client.task import Loss
from fedmx.errors import DataError
from tests.client.given.small import make_task

SOFTMAX = gluon.loss.SoftmaxCrossEntropyLoss
FINE = make_dataset("fine", np.ones((4, 2)), np.array([0, 1, 2, 3]))


def words_of(check: Callable[[], None]) -> str:
    with pytest.raises(DataError) as caught:
        check()
    return str(caught.value)


def of_labels(*labels: float) -> Dataset:
    return make_dataset("labels", np.ones((len(labels), 2)), np.array(labels))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_a_value_that_is_not_finite_is_named_with_set_and_row(value: float, dtype: str) -> None:
    examples = np.ones((5, 2, 2), dtype)
    examples[3, 1, 0] = value
    bad = make_dataset("bad", examples, np.arange(5))
    expected = "example 3 has a value that is NaN or infinite; expected finite numbers"
    assert words_of(lambda: check_finite("t", (bad, FINE))) == f"TASK=t: training set: {expected}"
    assert words_of(lambda: check_finite("t", (FINE, bad))) == f"TASK=t: test set: {expected}"


def test_a_label_that_is_not_finite_is_named() -> None:
    assert words_of(lambda: check_finite("t", (of_labels(0.5, np.nan), FINE))) == (
        "TASK=t: training set: label 1 has a value that is NaN or infinite; expected finite numbers"
    )


def test_finite_values_whose_sum_is_not_are_fine() -> None:
    large = make_dataset("large", np.full((9, 9), 6e4, np.float16), np.arange(9))
    check_finite("t", (large, make_dataset("whole", np.ones((1, 2), np.uint8), np.array([0]))))


def check(loss: Loss, outputs: tuple[int, ...], *sets: Dataset) -> None:
    check_labels(make_task(loss), mx.nd.zeros(outputs), (sets[0], sets[-1]))


@pytest.mark.parametrize(
    ("labels", "found"),
    [
        ((0, 4), "int64 from 0 to 4"),
        ((-1, 3), "int64 from -1 to 3"),
        ((1, 2.5), "float64 from 1 to 2.5"),
    ],
)
def test_labels_that_are_no_columns_of_the_outputs_are_named(labels: tuple[float, ...], found: str) -> None:
    expected = (
        f"labels are {found}; expected whole numbers from 0 to 3, as the outputs have 4 columns, or another"
        " loss() than softmax cross entropy"
    )
    bad = of_labels(*labels)
    assert words_of(lambda: check(SOFTMAX(), (2, 4), bad, FINE)) == f"TASK=by-hand: training set: {expected}"
    assert words_of(lambda: check(SOFTMAX(), (2, 4), FINE, bad)) == f"TASK=by-hand: test set: {expected}"


@pytest.mark.parametrize(
    ("loss", "labels"),
    [
        (SOFTMAX(), of_labels(0, 1, 2, 3)),
        (SOFTMAX(), of_labels(2, 2)),
        (SOFTMAX(sparse_label=False), of_labels(7, -2)),
        (gluon.loss.L2Loss(), of_labels(7, -2)),
        (SOFTMAX(), make_dataset("masks", np.ones((2, 3)), np.full((2, 3), 255))),
    ],
)
def test_labels_that_the_loss_can_take_are_fine(loss: Any, labels: Dataset) -> None:
    check(loss, (2, 4), labels)
