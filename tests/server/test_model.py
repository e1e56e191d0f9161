"""The global model: arrays that change without gradients are averaged."""

import numpy as np

from fedmx import arrays
from server import model
from tests.server.test_layout import BATCH_NORM, full


def test_running_arrays_are_averaged_by_examples_and_integers_rounded() -> None:
    one = full(running_var=np.array([1, 10], np.float32), steps=np.array([10]))
    other = full(running_var=np.array([2, 30], np.float32), steps=np.array([11]))
    updates = [(one, 10), (other, 30)]
    variance, steps = (
        arrays.view(model.average_running(BATCH_NORM, name, updates)) for name in ("running_var", "steps")
    )
    # (1 * 10 + 2 * 30) / 40, (10 * 10 + 30 * 30) / 40, (10 * 10 + 11 * 30) / 40 = 10.75
    assert variance.tolist() == [1.75, 25.0]
    assert steps.tolist() == [11]
    assert steps.dtype == np.int64


def test_one_update_is_its_own_average() -> None:
    averaged = model.average_running(BATCH_NORM, "running_var", [(full(), 3)])
    assert arrays.view(averaged).tolist() == [3, 4]
