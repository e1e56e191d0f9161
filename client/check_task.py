"""`python -m client check-task MODULE`: one small round in this process, and what a round costs.

The round is a real one but for the link: two nodes train on a part of the data, their arrays are averaged,
and both evaluate the average.
"""

import argparse
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, TextIO

import numpy as np
from flwr.app import Array, ArrayRecord

from client import json_lines, peak_memory
from client.costs import Costs
from client.device import find_devices
from client.metrics import COUNT, LOSS
from client.settings import load_settings
from client.shares import DataShare
from client.site_summary import agree_alone
from client.task import load_task
from client.trainer import Trainer
from fedmx import arrays
from fedmx.class_counts import measure_all
from fedmx.errors import SettingsError, TrainingFailedError
from fedmx.hyperparameters import Hyperparameters
from fedmx.settings import load
from fedmx.values import PartitionRule

Model = Mapping[str, Array]
Update = tuple[ArrayRecord, Mapping[str, float]]

_NODES = 2
# Enough to time, and few enough for a slow network.
_STEPS = 20
_TIMES, _ENOUGH_S = 3, 2.0


def run(arguments: argparse.Namespace, output: TextIO) -> None:
    """Run a round of the task in the arguments, and print what it costs.

    Raises:
        SettingsError: the task cannot be trained.
        DataError: its data cannot be read or used.
    """
    settings = load_settings()
    how = replace(load(Hyperparameters), local_epochs=1)
    devices = find_devices(settings.device, settings.gpu_index)
    peak_memory.reset()
    base = peak_memory.read()
    data_dir = arguments.data_dir or settings.data_dir
    schema = agree_alone(arguments.task, how.task_options, data_dir, settings.min_group)
    trainer = Trainer(load_task(arguments.task, how.task_options, data_dir, schema), data_dir, devices)
    try:
        costs = _Check(trainer, how, base).run()
    except TrainingFailedError as error:
        raise SettingsError(str(error)) from None
    text = json_lines.to_line(asdict(costs)) if arguments.json else "\n".join(costs.to_lines())
    print(text, file=output)


@dataclass(frozen=True)
class _Training:
    """A node's training.

    Attributes:
        update: the trained arrays.
        metrics: the metrics of the training.
        seconds: duration of the fastest repetition, which has nothing left to prepare.
        memory_bytes: peak memory, in addition to what was in use before.
        is_repeatable: whether all repetitions led to the same arrays.
    """

    update: ArrayRecord
    metrics: Mapping[str, float]
    seconds: float
    memory_bytes: int
    is_repeatable: bool


class _Check:
    """One round of two nodes, which take turns in one trainer.

    Args:
        trainer: the trainer of the task.
        how: the hyperparameters, with one epoch.
        base: bytes of memory in use before the task was imported.
    """

    def __init__(self, trainer: Trainer, how: Hyperparameters, base: int) -> None:
        self._trainer = trainer
        self._how = how
        self._base = base
        facts = trainer.description()
        self._train_examples, self._test_examples = (
            int(str(facts[name])) for name in ("train-examples", "test-examples")
        )
        fewest = min(self._train_examples, self._test_examples)
        self._nodes = min(_NODES, fewest)
        wanted = max(_NODES, self._train_examples // (_STEPS * how.batch_size))
        self._partitions = min(wanted, fewest)

    def run(self) -> Costs:
        """Run the round, and return what it costs.

        Raises:
            SettingsError: the average is not finite, nothing was trained, or the nodes' metrics differ.
        """
        trainer = self._trainer
        initial = trainer.initial_arrays(0)
        trainer.load_partition(DataShare(PartitionRule("none"), None, 1, 0))
        loaded_peak = peak_memory.read_peak()
        loaded = peak_memory.read()
        timed = self._time(initial)
        updates = [(timed.update, timed.metrics)]
        for node in range(1, self._nodes):
            self._load(node)
            updates.append(self._train(initial, node))
        average = _average(updates)
        _check_average(trainer.task.name, initial, average)
        evaluated = self._evaluate({**initial, **average})
        return Costs(
            task=trainer.task.name,
            **self._describe(initial, average),
            seconds_per_epoch=timed.seconds * self._train_examples / self._timed_examples,
            memory_bytes=max(loaded_peak, loaded + timed.memory_bytes) - self._base,
            base_bytes=self._base,
            train=_average_metrics([metrics for _, metrics in updates]),
            evaluate=evaluated,
            is_repeatable=timed.is_repeatable,
        )

    @property
    def _timed_examples(self) -> int:
        # Rounded up: the first partition is the largest.
        return -(-self._train_examples // self._partitions)

    def _load(self, node: int) -> None:
        self._trainer.load_partition(DataShare(PartitionRule("iid"), node, self._partitions, 0))

    def _train(self, initial: ArrayRecord, node: int) -> Update:
        return self._trainer.train(initial, self._how, 1, [0, 1, node])

    def _time(self, initial: ArrayRecord) -> _Training:
        """Train the first node several times."""
        self._load(0)
        peak_memory.reset()
        before = peak_memory.read()
        update, metrics = self._train(initial, 0)
        seconds: list[float] = []
        is_repeatable = True
        # The fastest counts, since other programs may use the processor as well.
        while len(seconds) < _TIMES and sum(seconds) < _ENOUGH_S:
            started = time.perf_counter()
            again, _ = self._train(initial, 0)
            seconds.append(time.perf_counter() - started)
            is_repeatable = is_repeatable and arrays.sha256(update) == arrays.sha256(again)
        return _Training(update, metrics, min(seconds), peak_memory.read_peak() - before, is_repeatable)

    def _evaluate(self, average: Model) -> Mapping[str, float]:
        """Evaluate the average as both nodes do."""
        found = []
        counted = []
        for node in range(self._nodes):
            self._load(node)
            counter = self._trainer.make_counter()
            arrays_sent = arrays.make_record(average)
            found.append(self._trainer.evaluate(arrays_sent, self._how, 1, [0, 1, node], counter))
            counted.append(None if counter is None else counter.read())
        averaged = _average_metrics(found)
        derived = {name: value for name, value in measure_all(counted).items() if name not in averaged}
        metrics = {**averaged, **derived}
        loss = metrics.get(LOSS, 0.0)
        if not math.isfinite(loss):
            raise SettingsError(
                f"TASK={self._trainer.task.name}: the loss of the averaged model is {loss}; expected a finite"
                f" number, try a LEARNING_RATE below {self._how.learning_rate:g}"
            )
        return metrics

    def _describe(self, initial: Model, average: Model) -> dict[str, Any]:
        """Return the costs that follow from the network and the data alone."""
        frozen = {name: array for name, array in initial.items() if name not in average}
        model_bytes = _count_bytes(initial)
        updated_bytes = model_bytes - _count_bytes(frozen)
        # The link sends an array once: frozen ones in round 1, unless the nodes have them, and the average of
        # a round to evaluate it, not to train on it in the next one.
        has_frozen = bool(self._trainer.description()["frozen-sha256"])
        return {
            "arrays": len(initial),
            "parameters": _count_numbers(initial),
            "frozen_parameters": _count_numbers(frozen),
            "model_bytes": model_bytes,
            "bytes_down": updated_bytes,
            "bytes_down_in_round_1": updated_bytes + (updated_bytes if has_frozen else model_bytes),
            "bytes_up": updated_bytes,
            "train_examples": self._train_examples,
            "test_examples": self._test_examples,
            "timed_examples": self._timed_examples,
            "device": ", ".join(map(str, self._trainer.devices)),
        }


def _average(updates: Sequence[Update]) -> dict[str, Array]:
    """Average arrays, weighted by the nodes' examples, in their own dtypes."""
    weights = [metrics[COUNT] for _, metrics in updates]
    average = {}
    for name, array in updates[0][0].items():
        values = [arrays.view(update[name]).astype(np.float64) for update, _ in updates]
        mean = np.average(values, axis=0, weights=weights)
        average[name] = arrays.pack(mean.astype(arrays.view(array).dtype))
    return average


def _average_metrics(found: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Average metrics, weighted by the nodes' examples.

    Raises:
        SettingsError: a metric is missing at one of the nodes.
    """
    weights = [metrics[COUNT] for metrics in found]
    names = {name for metrics in found for name in metrics if name != COUNT}
    for name in sorted(names):
        if any(name not in metrics for metrics in found):
            raise SettingsError(
                f"metric {name!r} is missing at one of two nodes; expected the same metrics at both"
            )
    return {
        name: float(np.average([metrics[name] for metrics in found], weights=weights))
        for name in sorted(names)
    }


def _check_average(task_name: str, initial: Model, average: Model) -> None:
    """Check that the server would accept the arrays, and that training changed some of them.

    Raises:
        SettingsError: a number is not finite, or no array has changed.
    """
    for name, array in average.items():
        if not np.isfinite(arrays.view(array)).all():
            raise SettingsError(
                f"TASK={task_name}: array {name!r} is not finite after a training; expected finite numbers:"
                " check the loss, and try a smaller LEARNING_RATE"
            )
    if all((arrays.view(array) == arrays.view(initial[name])).all() for name, array in average.items()):
        raise SettingsError(
            f"TASK={task_name}: training changed no array; expected gradients of the loss, or a train() that"
            " changes the network in place"
        )


def _count_numbers(model: Model) -> int:
    return sum(arrays.view(array).size for array in model.values())


def _count_bytes(model: Model) -> int:
    return sum(arrays.view(array).nbytes for array in model.values())
