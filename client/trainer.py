"""A node's network and its share of the data, which stay on the device between messages."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord

from client import data_checks, model, own_loops, rehearsal, training
from client.batches import Batch, DeviceData, read_batch
from client.cache.datasets import with_cache
from client.class_counter import ClassCounter
from client.classifier import Classifier, find_classifier
from client.context import Context
from client.data import Dataset
from client.data.lazy import AnyDataset, digest_labels
from client.device import Devices, find_devices
from client.metrics import COUNT
from client.mx import mx
from client.network import Network
from client.seeding import seed_all, seed_call
from client.shares import DataShare, Division, load_rows
from client.task import Task, load_task
from fedmx.hyperparameters import Hyperparameters
from fedmx.log import event
from fedmx.schema import Schema
from fedmx.settings import ClientSettings

Sets = tuple[AnyDataset, AnyDataset]
_SAMPLE = 2
# Stands for metrics of any name, which the task's own function returns.
_ANY = ["*"]


class Trainer:
    """Trains and evaluates one task's network.

    Keeps what is expensive to build. No training state is carried from one message to the next.

    Args:
        task: the model and data.
        data_dir: the folder with the data.
        devices: the devices to choose from.

    Attributes:
        devices: MXNet's contexts; empty until a partition chooses among several.

    Raises:
        DataError: the data cannot be read, is not finite, or does not fit the model.
        SettingsError: a function of the task raises an exception or returns a value of the wrong kind.
    """

    def __init__(self, task: Task, data_dir: Path, devices: Devices) -> None:
        self.task = task
        self._data_dir = data_dir
        self._choice = devices
        self.devices = devices.only
        # Freed once the first share is loaded, but kept from the second one on.
        self._sets: Sets | None = self._load_sets()
        self._shares = 0
        self._division = Division()
        sets = self._sets
        data_checks.check_numbers(task.name, sets)
        # A task's own loops may read items that form no batch, such as sentences of different lengths.
        rows = np.arange(min(1 if task.train else _SAMPLE, len(sets[0])))
        read_sample = partial(read_batch, sets[0], rows, mx.cpu())
        self._network = Network(task, read_sample)
        # How an evaluation's outputs are counted by class; None and 0 if they are not classes.
        self._classifier: Classifier | None = None
        self._classes = 0
        metrics = self._measure_sample(read_sample, sets)
        self._description = self._describe(sets, metrics)
        if task.train is None:
            self._network.hybridize()
        self._network.place(self.devices)
        rehearsal.rehearse(self._network, task, sets, metrics)
        # Draws the arrays again and seeds the generators, so that no trace of the rehearsal remains.
        self.initial_arrays(0)
        self._share: DataShare | None = None
        self._data: tuple[Any, ...] = ()

    @classmethod
    def from_settings(
        cls,
        settings: ClientSettings,
        options: Mapping[str, Any] | None = None,
        schema: Schema | None = None,
    ) -> "Trainer":
        """Build a trainer from a client's settings, the server's TASK_OPTIONS and the sites' schema."""
        devices = find_devices(settings.device, settings.gpu_index)
        task = load_task(settings.task, options, settings.data_dir, schema)
        if settings.data_cache is not None:
            task = with_cache(task, settings.data_cache, settings.cpu_isa)
        return cls(task, settings.data_dir, devices)

    @property
    def trained(self) -> frozenset[str]:
        """Names of the arrays that gradients change."""
        return self._network.trained

    def description(self) -> ConfigRecord:
        """Return what must be equal on all nodes, and the numbers of this node's examples."""
        return self._description

    def initial_arrays(self, seed: int) -> ArrayRecord:
        """Return the initial arrays of a run: set by `build_model()`, or else drawn from the seed."""
        initial = self._network.initial_arrays(seed)
        self._network.place(self.devices)
        return initial

    def load_partition(self, share: DataShare) -> None:
        """Load a share of the data, which stays until a different share is loaded.

        Arrays are put on the device, other data is read batch by batch.

        Raises:
            DataError: the data cannot be divided in this way.
            SettingsError: the device that the partition chooses does not work.
        """
        if share == self._share:
            return
        # Free the old share first: there may be no room for two.
        self._share = None
        self._data = ()
        devices = self._choice.for_partition(share.partition)
        if devices != self.devices:
            self.devices = devices
            self._network.place(devices)
            event("training on", device=", ".join(map(str, devices)))
        sets = self._sets or self._load_sets()
        self._shares += 1
        # A process that is sent a second share may serve many nodes, as in a simulation.
        self._sets = None if self._shares == 1 else sets
        own = (self.task.train, self.task.evaluate)
        self._data = tuple(
            load_rows(data, chosen, devices[0], is_own=function is not None)
            for data, chosen, function in zip(
                sets, self._division.choose_rows(*sets, share), own, strict=True
            )
        )
        self._share = share

    def train(
        self, arrays: ArrayRecord, hyperparameters: Hyperparameters, number: int, seed: list[int]
    ) -> tuple[ArrayRecord, dict[str, float]]:
        """Train from these arrays on this node's share; return the new arrays and the metrics.

        Args:
            arrays: the global model's; frozen ones may be missing if this node has them.
            hyperparameters: the hyperparameters of this round.
            number: number of the round.
            seed: seed for this message alone.
        """
        network = self._network
        network.write(arrays)
        loop = own_loops if self.task.train else training
        # Arrays that the task's code creates belong on the same device.
        context = Context(hyperparameters, number, self.devices)
        with self.devices[0]:
            metrics = loop.train(network.net, self.task, self._data[0], context, seed)
        if self.task.train:
            network.check_kept("train()")
        return network.read_trained(), metrics

    def make_counter(self) -> ClassCounter | None:
        """Return a counter for one evaluation; None if the outputs of the built-in one are not classes."""
        return ClassCounter(self._classifier) if self._classifier and self._classes else None

    def evaluate(
        self,
        arrays: ArrayRecord,
        hyperparameters: Hyperparameters,
        number: int,
        seed: list[int],
        counter: ClassCounter | None = None,
    ) -> dict[str, float]:
        """Evaluate these arrays on this node's share of the test set.

        Args:
            arrays: the global model's; frozen ones may be missing if this node has them.
            hyperparameters: the hyperparameters of this round.
            number: number of the round.
            seed: seed for this message alone.
            counter: from `make_counter`, to count the outputs by class as well.
        """
        network = self._network
        network.write(arrays)
        seed_call(seed)
        context = Context(hyperparameters, number, self.devices)
        data = self._data[1]
        with self.devices[0]:
            if self.task.evaluate is None:
                return training.evaluate(network.net, self.task, data, context, counter)
            metrics = own_loops.evaluate(network.net, self.task, data, context)
        network.check_kept("evaluate()")
        return metrics

    def _load_sets(self) -> Sets:
        # The same draws on every node, if the task draws any.
        seed_all(0)
        return self.task.load_data(self._data_dir)

    def _describe(self, sets: Sets, metrics: list[str]) -> ConfigRecord:
        train, test = sets
        network = self._network
        return ConfigRecord(
            {
                "task": self.task.name,
                "arrays": model.describe(network.parameters, network.frozen),
                "frozen-sha256": network.frozen_sha256,
                "train-metrics": _ANY if self.task.train else metrics,
                "metrics": _ANY if self.task.evaluate else metrics,
                "classes": self._classes,
                "labels-sha256": digest_labels(train, test),
                "train-examples": len(train),
                "test-examples": len(test),
            }
        )

    def _measure_sample(self, read_sample: Callable[[], Batch], sets: Sets) -> list[str]:
        """Evaluate a few examples, check the sets against their outputs, and return the metrics' names."""
        if self.task.train and self.task.evaluate:
            return []
        net = self._network.net
        sample = read_sample()
        data = DeviceData(sample.inputs, sample.labels)
        context = Context(Hyperparameters(batch_size=_SAMPLE, task_options=self.task.options))
        self._classifier = None if self.task.evaluate else find_classifier(self.task)
        counter = None if self._classifier is None else ClassCounter(self._classifier)
        measured = training.evaluate(net, self.task, data, context, counter)
        self._classes = 0 if counter is None else counter.classes
        arrays = [data for data in sets if isinstance(data, Dataset)]
        if len(arrays) == len(sets):
            data_checks.check_labels(self.task, net(*sample.inputs), sets)
            data_checks.check_ids(self.task.name, net, sample.inputs, sets)
        return sorted(measured.keys() - {COUNT})
