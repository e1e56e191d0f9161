"""A node's network and its share of the data, which stay on the device between messages."""

from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord

from client import data_checks, model, rehearsal, training
from client.data import Dataset, labels_sha256
from client.device import Devices, find_devices
from client.mx import mx
from client.partition import Indices, split_indices, split_test_indices
from client.task import Task, load_task
from client.task_errors import task_errors
from client.training import DeviceData
from fedmx.errors import DataError
from fedmx.hyperparameters import Hyperparameters
from fedmx.log import event
from fedmx.settings import ClientSettings
from fedmx.values import PartitionRule

_SAMPLE = 2


@dataclass(frozen=True)
class DataShare:
    """The share of the data that a node works on.

    Attributes:
        rule: how a shared dataset is divided.
        partition: index of the partition; None if the node uses all of its own data.
        num_partitions: the number of partitions.
        seed: the seed of the partitioning.
    """

    rule: PartitionRule
    partition: int | None
    num_partitions: int
    seed: int


class Trainer:
    """Trains and evaluates one task's network on one device.

    Keeps what is expensive to build. No training state is carried from one message to the next.

    Args:
        task: the model and data.
        data_dir: the folder with the data.
        devices: the devices to choose from.

    Attributes:
        device: MXNet's context; None until a partition chooses one of several.

    Raises:
        DataError: the data cannot be read, is not finite, or does not fit the model.
        SettingsError: a function of the task raises an exception or returns a value of the wrong kind.
    """

    def __init__(self, task: Task, data_dir: Path, devices: Devices) -> None:
        self.task = task
        self._data_dir = data_dir
        self._devices = devices
        self.device = devices.only
        # Freed once the first share is on the device; a different share reads the data again.
        self._sets: tuple[Dataset, Dataset] | None = task.load_data(data_dir)
        data_checks.check_numbers(task.name, self._sets)
        # A copy, since a slice would keep the whole set in memory.
        self._sample = self._sets[0].examples[:_SAMPLE].copy()
        # Seeding here makes build_model() draw the same arrays on all nodes, whatever load_data() drew.
        model.seed_generators(0)
        self._net = task.build_model()
        with task_errors(task.name, f"the network, given examples of shape {self._sample.shape},"):
            self._given = model.find_given(self._net)
            model.initialize(self._net, 0, self._sample, self._given)
        rehearsal.check_parameters(task.name, self._net)
        self._parameters = model.name_parameters(self._net)
        self._description = self._describe(*self._sets)
        self._net.hybridize(static_alloc=True, static_shape=True)
        self._move_net()
        metrics = cast(list[str], self._description["metrics"])
        rehearsal.rehearse(self._net, task, self._parameters, self._sets, metrics)
        # Draws the arrays again and seeds the generators, so that no trace of the rehearsal remains.
        self.initial_arrays(0)
        self._share: DataShare | None = None
        self._data: tuple[DeviceData, ...] = ()

    @classmethod
    def from_settings(cls, settings: ClientSettings) -> "Trainer":
        """Build a trainer from a client's settings."""
        devices = find_devices(settings.device, settings.gpu_index)
        return cls(load_task(settings.task), settings.data_dir, devices)

    def description(self) -> ConfigRecord:
        """Return what must be equal on all nodes, and the numbers of this node's examples."""
        return self._description

    def initial_arrays(self, seed: int) -> ArrayRecord:
        """Return the initial arrays of a run: set by `build_model()`, or else drawn from the seed."""
        model.initialize(self._net, seed, self._sample, self._given)
        initial = model.read(self._parameters)
        self._move_net()
        return initial

    def load_partition(self, share: DataShare) -> None:
        """Put a share of the data on the device, where it stays until a different share is loaded.

        Raises:
            DataError: the data cannot be divided in this way.
            SettingsError: the device that the partition chooses does not work.
        """
        if share == self._share:
            return
        # Free the old share first: there may be no room for two.
        self._share = None
        self._data = ()
        device = self._devices.for_partition(share.partition)
        if device != self.device:
            self.device = device
            self._move_net()
            event("training on", device=device)
        train, test = self._sets or self.task.load_data(self._data_dir)
        self._sets = None
        self._data = tuple(
            DeviceData.put(data.examples, data.labels, device, chosen)
            for data, chosen in zip((train, test), _choose(train, test, share), strict=True)
        )
        self._share = share

    def train(
        self, arrays: ArrayRecord, hyperparameters: Hyperparameters, seed: list[int]
    ) -> tuple[ArrayRecord, dict[str, float]]:
        """Train from these arrays on this node's share; return the new arrays and the metrics."""
        data, _ = self._data
        model.write(self._parameters, arrays)
        # Arrays that the task's code creates belong on the same device.
        with data.labels.context:
            metrics = training.train(self._net, self.task, data, hyperparameters, seed)
        return model.read(self._parameters), metrics

    def evaluate(self, arrays: ArrayRecord, batch_size: int) -> dict[str, float]:
        """Evaluate these arrays on this node's share of the test set."""
        _, data = self._data
        model.write(self._parameters, arrays)
        with data.labels.context:
            return training.evaluate(self._net, self.task, data, batch_size)

    def _move_net(self) -> None:
        if self.device is not None:
            self._net.collect_params().reset_ctx(self.device)

    def _describe(self, train: Dataset, test: Dataset) -> ConfigRecord:
        sample = DeviceData.put(self._sample, train.labels[:_SAMPLE], mx.cpu())
        measured = training.evaluate(self._net, self.task, sample, _SAMPLE)
        data_checks.check_labels(self.task, self._net(sample.examples), (train, test))
        data_checks.check_ids(self.task.name, self._net, sample.examples, (train, test))
        return ConfigRecord(
            {
                "task": self.task.name,
                "arrays": model.describe(self._parameters),
                "metrics": sorted(measured.keys() - {"num-examples"}),
                "labels-sha256": labels_sha256(train, test),
                "train-examples": len(train),
                "test-examples": len(test),
            }
        )


def _choose(train: Dataset, test: Dataset, share: DataShare) -> tuple[Indices, Indices]:
    """Return the indices of a share's training and test examples."""
    if share.partition is None:
        return np.arange(len(train)), np.arange(len(test))
    number = share.num_partitions
    if not 0 <= share.partition < number:
        raise DataError(
            f"partition {share.partition} of {number}; expected an index below the number of partitions"
        )
    return (
        split_indices(train.labels, share.rule, number, share.seed)[share.partition],
        split_test_indices(len(test), number, share.seed)[share.partition],
    )
