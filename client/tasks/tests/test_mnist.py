"""Tests of client.tasks.mnist on small data: run `.venv/bin/python test_mnist.py`, or pytest.

Change `write_data` when you change what `load_data` reads.
"""

import tempfile
import unittest
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from client.tasks import mnist as task
from client.trial import Trial, run_trial

CLASSES = 10
IMAGES = 40
SIDE = 28


def write_data(data_dir: Path) -> None:
    """Write IDX files with images that are easy to tell apart: the brightest row depends on the class."""
    random = np.random.default_rng(0)
    for part in ("train", "t10k"):
        labels = np.arange(IMAGES, dtype=np.uint8) % CLASSES
        images = random.integers(0, 50, (IMAGES, SIDE, SIDE), dtype=np.uint8)
        images[np.arange(IMAGES), 2 * labels + 4] = 255
        write_idx(data_dir / f"{part}-images-idx3-ubyte", images)
        write_idx(data_dir / f"{part}-labels-idx1-ubyte", labels)


def write_idx(path: Path, rows: NDArray[Any]) -> None:
    """Write numbers as an IDX file: a code for uint8, the number of dimensions, each of them, the numbers."""
    header = bytes([0, 0, 8, rows.ndim]) + np.array(rows.shape, ">u4").tobytes()
    path.write_bytes(header + rows.tobytes())


class TaskTest(unittest.TestCase):
    """What a federation expects of the task."""

    def setUp(self) -> None:
        """Write the data, which is removed after each test."""
        self.data_dir = Path(self.enterContext(tempfile.TemporaryDirectory()))
        write_data(self.data_dir)

    def train(self, rounds: int) -> Trial:
        """Train on the data as one client does, without a server."""
        return run_trial(task.__name__, self.data_dir, rounds, batch_size=10, local_epochs=1)

    def test_examples_and_labels_have_the_shapes_and_values_that_the_network_expects(self) -> None:
        train, test = task.load_data(self.data_dir)
        for part in (train, test):
            self.assertEqual(part.examples.shape, (IMAGES, 1, SIDE, SIDE))
            self.assertEqual((part.examples.min(), part.examples.max()), (0, 1))
            self.assertEqual(sorted(set(part.labels)), list(range(CLASSES)))

    def test_the_network_has_one_output_for_each_class(self) -> None:
        trial = self.train(rounds=1)
        shapes = [array.shape for array in trial.arrays.values()]
        self.assertEqual(shapes[-1], (CLASSES,))

    def test_the_loss_falls(self) -> None:
        losses = [metrics["loss"] for metrics in self.train(rounds=5).training]
        self.assertTrue(np.isfinite(losses).all(), losses)
        self.assertLess(losses[-1], losses[0])

    def test_two_trainings_lead_to_the_same_arrays(self) -> None:
        first, second = self.train(rounds=2), self.train(rounds=2)
        for name, array in first.arrays.items():
            np.testing.assert_array_equal(array, second.arrays[name], name)


if __name__ == "__main__":
    # MXNet's own code has warnings that no task can avoid.
    unittest.main(warnings="ignore")
