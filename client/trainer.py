"""A node's network and data, kept warm between messages: what is costly to make, and no state of training."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord

from client import data_checks, model, rehearsal, training
from client.data import Dataset, labels_sha256
from client.device import Devices, find_devices
from client.mx import mx
from client.partition import Indices, split_indices, split_test_indices
from client.task import Task, load_task, task_errors
from client.training import DeviceData, Hyperparameters
from fedmx.errors import DataError
from fedmx.log import event
from fedmx.parsing import PartitionRule
from fedmx.settings import ClientSettings

_SAMPLE = 2


@dataclass(frozen=True)
class DataShare:
    """Which part of the data a node works on; `partition` is None where all of it is its own."""

    rule: PartitionRule
    partition: int | None
    number: int
    seed: int


class Trainer:
    """Holds one task's network on the device, and the node's part of the data beside it.

    Args:
        task: the model and data.
        data_dir: where the data is.
        devices: those to choose from.

    Attributes:
        device: MXNet's context; None until a part says which of several it is.

    Raises:
        DataError: the data cannot be read, is not finite, or does not fit the model.
        SettingsError: the task's model, loss or metrics are not what a task has, or raise.
    """

    def __init__(self, task: Task, data_dir: Path, devices: Devices) -> None:
        self.task = task
        self._data_dir = data_dir
        self._devices = devices
        self.device = devices.only
        # Kept until the first part is taken from it; another part reads it again.
        self._sets: tuple[Dataset, Dataset] | None = task.load_data(data_dir)
        data_checks.check_numbers(task.name, self._sets)
        # A copy: a slice would keep the whole set alive.
        self._sample = self._sets[0].examples[:_SAMPLE].copy()
        # Arrays that build_model() draws are the same on all nodes, whatever load_data() drew.
        model.seed_generators(0)
        self._net = task.build_model()
        with task_errors(task.name, f"the network, given examples of shape {self._sample.shape},"):
            self._given = model.find_given(self._net)
            model.initialize(self._net, 0, self._sample, self._given)
        self._parameters = model.name_parameters(self._net)
        rehearsal.check_parameters(task.name, self._parameters)
        self._description = self._describe(*self._sets)
        self._net.hybridize(static_alloc=True, static_shape=True)
        self._move_net()
        rehearsal.rehearse(self._net, task, self._parameters, self._sets)
        # Nothing of it is left: neither arrays nor what was drawn.
        self.initial_arrays(0)
        self._part: DataShare | None = None
        self._data: tuple[DeviceData, ...] = ()

    @classmethod
    def from_settings(cls, settings: ClientSettings) -> "Trainer":
        """Make the trainer that the settings name."""
        devices = find_devices(settings.device, settings.gpu_index)
        return cls(load_task(settings.task), settings.data_dir, devices)

    def description(self) -> ConfigRecord:
        """Say what must agree between nodes."""
        return self._description

    def initial_arrays(self, seed: int) -> ArrayRecord:
        """Return the arrays that a run starts from: those that `build_model()` set, others by the seed."""
        model.initialize(self._net, seed, self._sample, self._given)
        initial = model.read(self._parameters)
        self._move_net()
        return initial

    def load_partition(self, part: DataShare) -> None:
        """Put this part of the data on the device, where it stays until another is wanted.

        Raises:
            DataError: the data cannot be divided so.
            SettingsError: the device that the partition chooses does not work.
        """
        if part == self._part:
            return
        # What was held goes first: there may be no room for two parts.
        self._part, self._data = None, ()
        device = self._devices.for_partition(part.partition)
        if device != self.device:
            self.device = device
            self._move_net()
            event("training on", device=device)
        train, test = self._sets or self.task.load_data(self._data_dir)
        self._sets = None
        self._data = tuple(
            DeviceData.put(data.examples, data.labels, device, chosen)
            for data, chosen in zip((train, test), _choose(train, test, part), strict=True)
        )
        self._part = part

    def train(
        self, arrays: ArrayRecord, how: Hyperparameters, seed: list[int]
    ) -> tuple[ArrayRecord, dict[str, float]]:
        """Train from these arrays on this node's part; give the new arrays and the metrics."""
        data, _ = self._data
        model.write(self._parameters, arrays)
        with data.labels.context:  # arrays that the task's own code makes belong there too
            metrics = training.train(self._net, self.task, data, how, seed)
        return model.read(self._parameters), metrics

    def evaluate(self, arrays: ArrayRecord, batch_size: int) -> dict[str, float]:
        """Measure these arrays on this node's part of the test set."""
        _, data = self._data
        model.write(self._parameters, arrays)
        with data.labels.context:
            return training.evaluate(self._net, self.task, data, batch_size)

    def _move_net(self) -> None:
        if self.device is not None:
            self._net.collect_params().reset_ctx(self.device)

    def _describe(self, train: Dataset, test: Dataset) -> ConfigRecord:
        """Say what must agree between nodes, and how much data there is."""
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


def _choose(train: Dataset, test: Dataset, part: DataShare) -> tuple[Indices, Indices]:
    """Give the indices of a part's training and test examples."""
    if part.partition is None:
        return np.arange(len(train)), np.arange(len(test))
    if not 0 <= part.partition < part.number:
        raise DataError(
            f"partition {part.partition} of {part.number}: expected one below the number of partitions"
        )
    return (
        split_indices(train.labels, part.rule, part.number, part.seed)[part.partition],
        split_test_indices(len(test), part.number, part.seed)[part.partition],
    )
