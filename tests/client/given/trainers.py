"""Trainers for clusters of points, with parts that a test replaces."""

import weakref
from pathlib import Path
from typing import Any

from client.data import Dataset, make_dataset
from client.device import Devices
from client.mx import gluon
from client.shares import DataShare
from client.task import Task, accuracy
from client.trainer import Trainer
from fedmx.hyperparameters import Hyperparameters
from fedmx.values import PartitionRule
from tests.client.given import clusters
from tests.client.given.small import CPU

IID = PartitionRule("iid")
HOW = Hyperparameters(local_epochs=1, batch_size=10, learning_rate=0.1, momentum=0.9, proximal_mu=0.0)


class Source:
    """Loads the clusters and refers to what it loaded without keeping it in memory."""

    def __init__(self) -> None:
        self.loaded: list[weakref.ref[Any]] = []

    def load(self, _: Path) -> tuple[Dataset, Dataset]:
        train = make_dataset("training set", *clusters.draw(230, 1))
        self.loaded.append(weakref.ref(train.examples))
        return train, make_dataset("test set", *clusters.draw(50, 2))


def build() -> gluon.HybridBlock:
    """Build a network with running statistics and dropout."""
    net = gluon.nn.HybridSequential()
    net.add(gluon.nn.Dense(5), gluon.nn.BatchNorm(), gluon.nn.Dropout(0.2), gluon.nn.Dense(4))
    return net


def make(source: Source | None = None, devices: Devices | None = None, **changes: Any) -> Trainer:
    """Build a trainer; `changes` are the parts of the task that differ."""
    parts = {
        "build_model": build,
        "load_data": (source or Source()).load,
        "loss": gluon.loss.SoftmaxCrossEntropyLoss(),
        "metrics": accuracy,
    }
    return Trainer(
        Task("clusters", **parts | changes),
        Path(),
        devices or Devices([CPU]),
    )


def share(partition: int | None = 0, number: int = 2, seed: int = 0) -> DataShare:
    """Return a share by the rule iid."""
    return DataShare(IID, partition, number, seed)
