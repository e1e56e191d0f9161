"""The tasks of docs/reference/tasks.md: each is trained from its text by two nodes, and learns."""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import ArrayRecord

from client.classifier import find_classifier
from client.device import Devices
from client.mx import mx
from client.shares import DataShare
from client.site_summary import agree_alone
from client.task import load_task
from client.trainer import Trainer
from fedmx import arrays
from fedmx.hyperparameters import Hyperparameters
from fedmx.values import PartitionRule
from tests.client.given.small import CPU
from tests.pages import ROOT, find_code

ROUNDS = 5
Federate = Callable[..., tuple[dict[str, float], dict[str, float]]]


@pytest.fixture
def federate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Federate:
    """Return a function that trains a task on two nodes and returns its first and its last metrics."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def run(name: str, options: dict[str, Any] | None = None, rounds: int = ROUNDS, **how: Any) -> Any:
        (tmp_path / f"{name}.py").write_text(find_code(f"# {name}.py"))
        monkeypatch.delitem(sys.modules, name, raising=False)
        schema = agree_alone(name, options or {}, tmp_path, 5)
        task = load_task(name, options, schema=schema)
        trainers = [Trainer(task, tmp_path, Devices([CPU])) for _ in range(2)]
        for number, trainer in enumerate(trainers):
            trainer.load_partition(DataShare(PartitionRule("iid"), number, 2, 0))
        settings = Hyperparameters(**{"batch_size": 50, "optimizer": "adam", "learning_rate": 0.01, **how})
        current = trainers[0].initial_arrays(0)
        measured = []
        for number in range(rounds + 1):
            measured.append(trainers[0].evaluate(current, settings, number, [0, number, 0]))
            if number == rounds:
                break
            updates = [
                trainer.train(current, settings, number, [0, number, index])[0]
                for index, trainer in enumerate(trainers)
            ]
            current = average(updates)
        return measured[0], measured[-1]

    return run


def average(updates: list[ArrayRecord]) -> ArrayRecord:
    return ArrayRecord(
        {
            name: arrays.pack(np.mean(np.stack([update[name].numpy() for update in updates]), axis=0))
            for name in updates[0]
        }
    )


def test_the_classifier_learns_what_its_script_learns(federate: Federate, tmp_path: Path) -> None:
    script = tmp_path / "classifier.py"
    script.write_text(find_code("# classifier.py"))
    done = subprocess.run(
        [sys.executable, str(script)],
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    found = re.fullmatch(r"accuracy ([0-9.]+)\n", done.stdout)
    assert found is not None
    before, after = federate("classifier_task")
    assert float(found[1]) > 0.85
    assert after["accuracy"] > max(before["accuracy"], float(found[1]) - 0.1)


@pytest.mark.slow
def test_the_recommender_learns_and_its_width_is_an_option(federate: Federate) -> None:
    before, after = federate("recommender_task", {"width": 8}, local_epochs=10)
    assert after["squared_error"] < before["squared_error"] / 2


@pytest.mark.slow
def test_the_gan_finds_the_circle_that_the_points_are_on(federate: Federate) -> None:
    before, after = federate("gan_task", local_epochs=10)
    assert abs(after["radius"] - 1) < abs(before["radius"] - 1)
    assert abs(after["radius"] - 1) < 0.5


def test_fedprox_pulls_the_generator(federate: Federate) -> None:
    _, free = federate("gan_task", rounds=1)
    _, held = federate("gan_task", rounds=1, proximal_mu=10.0)
    assert free["radius"] != held["radius"]


@pytest.mark.slow
def test_the_time_series_task_predicts_better_than_the_overall_distribution(federate: Federate) -> None:
    before, after = federate("series_task")
    # A sine wave's own distribution has a standard deviation of 0.71, and so a loss of about 0.15.
    assert after["loss"] < min(before["loss"], 0)


WEIGHTED = """
import numpy as np
from client.mx import gluon, mx

def build_model():
    return gluon.nn.Dense(1)

def load_data(data_dir):
    rows = np.random.default_rng(0).normal(size=(90, 3)).astype("float32")
    train = rows, (rows[:, :1] > 0.5).astype("float32")
    return train, train
"""


def test_a_task_without_a_test_set_weighs_its_positives_by_an_option(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "weighted_task.py").write_text(WEIGHTED + find_code("positive_weight"))
    task = load_task("weighted_task", {"positive_weight": 11})
    # The cross entropy of a score of 0 is the logarithm of 2.
    losses = task.loss(mx.nd.zeros((2, 1)), mx.nd.array([[0], [1]])).asnumpy()
    np.testing.assert_allclose(losses, np.log(2) * np.array([1, 11]), rtol=1e-5)
    trainer = Trainer(task, tmp_path, Devices([CPU]))
    trainer.load_partition(DataShare(PartitionRule("iid"), 0, 2, 0))
    how = Hyperparameters(batch_size=9, learning_rate=0.1, task_options=task.options)
    updated, metrics = trainer.train(trainer.initial_arrays(0), how, 1, [0])
    assert metrics["num-examples"] == 45
    assert trainer.evaluate(updated, how, 1, [0])["num-examples"] == 45


TWO_HEADS = """
import numpy as np
from client.mx import gluon

class Heads(gluon.HybridBlock):
    def __init__(self):
        super().__init__()
        self.digit, self.odd = gluon.nn.Dense(10), gluon.nn.Dense(1)

    def hybrid_forward(self, F, x):
        return self.digit(x), self.odd(x)

def build_model():
    return Heads()

def load_data(data_dir):
    digits = np.arange(300) % 10
    rows = np.eye(10, dtype="float32")[digits]
    train = rows, np.stack([digits, digits % 2], axis=1)
    return train, train
"""


def test_a_task_with_two_heads_and_two_labels_learns_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "heads_task.py").write_text(TWO_HEADS + find_code("whether it is odd"))
    trainer = Trainer(load_task("heads_task"), tmp_path, Devices([CPU]))
    trainer.load_partition(DataShare(PartitionRule("iid"), 0, 2, 0))
    how = Hyperparameters(local_epochs=20, batch_size=10, learning_rate=0.5)
    updated, _ = trainer.train(trainer.initial_arrays(0), how, 1, [0])
    found = trainer.evaluate(updated, how, 1, [0])
    assert (found["digit"], found["odd"]) == (1.0, 1.0)


def test_the_patients_are_scaled_and_numbered_by_the_schema(federate: Federate, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    age = random.uniform(20, 90, 400)
    outcome = np.where(age > 60, "ill", "well")
    blood = random.choice(["0", "A", "B"], 400)
    np.savez(tmp_path / "patients.npz", age=age, blood=blood, outcome=outcome)
    before, after = federate("patients_task")
    assert after["accuracy"] > max(before["accuracy"], 0.9)
    schema = agree_alone("patients_task", {}, tmp_path, 5)
    classifier = find_classifier(load_task("patients_task", schema=schema))
    assert classifier is not None
    assert classifier.names == ("ill", "well")


def test_the_task_that_reads_an_npz_file_learns(federate: Federate, tmp_path: Path) -> None:
    rows = np.random.default_rng(0).normal(size=(500, 4)).astype(np.float32)
    np.savez(tmp_path / "site.npz", measurements=rows, is_ill=rows[:, 1] > 0)
    before, after = federate("npz_task", learning_rate=0.1)
    assert after["accuracy"] > 0.9 > before["accuracy"]
