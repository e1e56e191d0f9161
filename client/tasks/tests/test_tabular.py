"""Tests of client.tasks.tabular on small data: run `.venv/bin/python test_tabular.py`, or pytest.

Change `write_data`, and the options, to columns like yours.
"""

import tempfile
import unittest
from pathlib import Path
from typing import Any

import numpy as np

from client.tasks import tabular as task
from client.trial import Trial, make_schema, run_trial

ROWS = 200
# What TASK_OPTIONS will be in the federation.
OPTIONS: dict[str, Any] = {"label": "outcome", "hidden": [16]}


def write_data(data_dir: Path) -> None:
    """Write a CSV file with numbers, some of them missing, with texts, and with a label of two values."""
    random = np.random.default_rng(0)
    ages, pulses = random.integers(20, 90, ROWS), random.normal(80, 15, ROWS)
    sexes = random.choice(["female", "male"], ROWS)
    outcomes = np.where(ages + 10 * (sexes == "male") > 60, "ill", "well")
    lines = ["age,pulse,sex,outcome"]
    for row in range(ROWS):
        pulse = "" if row % 10 == 0 else f"{pulses[row]:.1f}"
        lines.append(f"{ages[row]},{pulse},{sexes[row]},{outcomes[row]}")
    (data_dir / "patients.csv").write_text("\n".join(lines) + "\n")


class TaskTest(unittest.TestCase):
    """What a federation expects of the task."""

    def setUp(self) -> None:
        """Write the data, which is removed after each test."""
        self.data_dir = Path(self.enterContext(tempfile.TemporaryDirectory()))
        write_data(self.data_dir)

    def train(self, rounds: int) -> Trial:
        """Train on the data as one client does, without a server."""
        return run_trial(task.__name__, self.data_dir, rounds, OPTIONS, batch_size=20, learning_rate=0.1)

    def test_the_columns_are_those_that_sites_should_agree_on(self) -> None:
        schema = make_schema(task.__name__, self.data_dir, OPTIONS)
        self.assertEqual(list(schema), ["age", "pulse", "sex", "outcome"])
        self.assertTrue(schema["pulse"].has_missing)
        self.assertEqual(schema["outcome"].values, ("ill", "well"))

    def test_inputs_and_labels_have_the_shapes_that_the_network_expects(self) -> None:
        schema = make_schema(task.__name__, self.data_dir, OPTIONS)
        train, test = task.load_data(self.data_dir, OPTIONS, schema)
        # The age; the pulse and whether it is missing; female, male and any other sex.
        for (inputs, labels), rows in ((train, 160), (test, 40)):
            self.assertEqual(inputs.shape, (rows, 1 + 2 + 3))
            self.assertTrue(np.isfinite(inputs).all())
            self.assertEqual(sorted(set(labels)), [0, 1])

    def test_the_loss_falls_and_the_model_is_better_than_a_guess(self) -> None:
        trial = self.train(rounds=5)
        losses = [metrics["loss"] for metrics in trial.training]
        self.assertTrue(np.isfinite(losses).all(), losses)
        self.assertLess(losses[-1], losses[0])
        self.assertGreater(trial.evaluation["accuracy"], 0.8)

    def test_two_trainings_lead_to_the_same_arrays(self) -> None:
        first, second = self.train(rounds=2), self.train(rounds=2)
        for name, array in first.arrays.items():
            np.testing.assert_array_equal(array, second.arrays[name], name)

    def test_rows_without_a_label_are_read_for_a_prediction(self) -> None:
        schema = make_schema(task.__name__, self.data_dir, OPTIONS)
        path = self.data_dir / "new.csv"
        path.write_text("age,pulse,sex\n40,,female\n70,91,other\n")
        inputs = task.load_examples(path, OPTIONS, schema)
        self.assertEqual(inputs.shape, (2, 1 + 2 + 3))

    def test_rows_to_predict_become_the_inputs_that_the_network_was_trained_on(self) -> None:
        schema = make_schema(task.__name__, self.data_dir, OPTIONS)
        (train, _), (test, _) = task.load_data(self.data_dir, OPTIONS, schema)
        found = task.load_examples(self.data_dir / "patients.csv", OPTIONS, schema)
        self.assertEqual(sorted(found.tolist()), sorted([*train.tolist(), *test.tolist()]))


if __name__ == "__main__":
    # MXNet's own code has warnings that no task can avoid.
    unittest.main(warnings="ignore")
