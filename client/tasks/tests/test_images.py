"""Tests of client.tasks.images on small data: run `.venv/bin/python test_images.py`, or pytest.

Change `write_data`, and the options, to images like yours.
"""

import tempfile
import unittest
from pathlib import Path
from typing import Any

import numpy as np

from client.png import encode
from client.tasks import images as task
from client.trial import Trial, make_schema, run_trial

CLASSES = ("cat", "dog")
IMAGES = 10
SIDE = 32
# What TASK_OPTIONS will be in the federation. Small images, since a test should take seconds.
OPTIONS: dict[str, Any] = {"size": SIDE, "augment": False}


def write_data(data_dir: Path) -> None:
    """Write a folder of PNG files for each class, whose color differs."""
    random = np.random.default_rng(0)
    for number, name in enumerate(CLASSES):
        (data_dir / name).mkdir()
        for index in range(IMAGES):
            picture = random.integers(0, 100, (SIDE, SIDE, 3), dtype=np.uint8)
            picture[..., number] += 150
            (data_dir / name / f"{index}.png").write_bytes(encode(picture))


class TaskTest(unittest.TestCase):
    """What a federation expects of the task."""

    def setUp(self) -> None:
        """Write the data, which is removed after each test."""
        self.data_dir = Path(self.enterContext(tempfile.TemporaryDirectory()))
        write_data(self.data_dir)

    def train(self, rounds: int) -> Trial:
        """Train on the data as one client does, without a server."""
        how = {"batch_size": 8, "learning_rate": 0.01, "momentum": 0.0}
        return run_trial(task.__name__, self.data_dir, rounds, OPTIONS, **how)

    def test_the_classes_are_the_names_of_the_folders(self) -> None:
        schema = make_schema(task.__name__, self.data_dir, OPTIONS)
        self.assertEqual(task.CLASSES(schema), CLASSES)

    def test_images_and_labels_have_the_shapes_that_the_network_expects(self) -> None:
        schema = make_schema(task.__name__, self.data_dir, OPTIONS)
        train, test = task.load_data(self.data_dir, OPTIONS, schema)
        self.assertEqual((len(train), len(test)), (16, 4))
        for part in (train, test):
            image, _ = part[0]
            self.assertEqual(image.shape, (3, SIDE, SIDE))
            self.assertEqual({label for _, label in part}, {0, 1})

    def test_the_network_has_an_output_for_each_class(self) -> None:
        shapes = [array.shape for array in self.train(rounds=1).arrays.values()]
        self.assertEqual(shapes[-1], (len(CLASSES),))

    def test_the_loss_falls(self) -> None:
        losses = [metrics["loss"] for metrics in self.train(rounds=5).training]
        self.assertTrue(np.isfinite(losses).all(), losses)
        self.assertLess(losses[-1], losses[0])

    def test_two_trainings_lead_to_the_same_arrays(self) -> None:
        first, second = self.train(rounds=1), self.train(rounds=1)
        for name, array in first.arrays.items():
            np.testing.assert_array_equal(array, second.arrays[name], name)

    def test_an_image_is_read_for_a_prediction(self) -> None:
        image = task.load_example(self.data_dir / "cat" / "0.png", OPTIONS)
        self.assertEqual(image.shape, (3, SIDE, SIDE))


if __name__ == "__main__":
    # MXNet's own code has warnings that no task can avoid.
    unittest.main(warnings="ignore")
