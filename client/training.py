"""The built-in training and evaluation of one message; nothing remains for the next message."""

import math
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from client.device import put
from client.model import is_trained
from client.mx import autograd, gluon, mx
from client.proximal import ProximalTerm
from client.task import Task, describe
from client.task_errors import task_errors
from fedmx import parsing
from fedmx.errors import SettingsError, TrainingFailedError
from fedmx.hyperparameters import Hyperparameters
from fedmx.log import printable

_COUNT = "num-examples"
_LOSS = "loss"


@dataclass(frozen=True)
class DeviceData:
    """A dataset on the device.

    Attributes:
        examples: float32 (n, ...).
        labels: float32 (n, ...), class numbers too, as MXNet's losses take them.
    """

    examples: mx.nd.NDArray
    labels: mx.nd.NDArray

    @classmethod
    def put(
        cls,
        examples: NDArray[Any],
        labels: NDArray[Any],
        device: mx.Context,
        chosen: NDArray[np.int64] | None = None,
    ) -> "DeviceData":
        """Copy a dataset to the device, or only the rows with the chosen indices."""
        return cls(put(examples, device, chosen), put(labels, device, chosen))

    def __len__(self) -> int:
        return len(self.labels)

    def batches(self, batch_size: int) -> Iterator[tuple[mx.nd.NDArray, mx.nd.NDArray]]:
        """Yield every example once, in order; the last batch may be short."""
        for start in range(0, len(self), batch_size):
            yield self.examples[start : start + batch_size], self.labels[start : start + batch_size]

    def shuffled_batches(
        self, batch_size: int, rng: np.random.Generator
    ) -> Iterator[tuple[mx.nd.NDArray, mx.nd.NDArray]]:
        """Yield every example once, in a random order; the last batch may be short."""
        order = mx.nd.array(rng.permutation(len(self)), ctx=self.labels.context, dtype="int32")
        for start in range(0, len(self), batch_size):
            chosen = order[start : start + batch_size]
            yield mx.nd.take(self.examples, chosen), mx.nd.take(self.labels, chosen)


class _Sums:
    """Sums of metrics, on the device: reading them waits for MXNet's engine, so once per epoch."""

    def __init__(self, task_name: str) -> None:
        self._task_name = task_name
        self._sums: dict[str, mx.nd.NDArray] = {}
        self._examples = 0

    def add(self, losses: mx.nd.NDArray, metrics: Mapping[str, Any]) -> None:
        """Add a batch, whose metrics have the names of the batches before.

        Args:
            losses: one per example.
            metrics: by name, one or several values per example, or the mean of the batch; any type of number.
        """
        values_by_name = {_LOSS: losses, **metrics}
        if self._sums:
            check_metric_names(self._task_name, self._sums.keys(), values_by_name.keys())
        else:
            _check_spelling(self._task_name, metrics)
        self._examples += len(losses)
        for name, values in values_by_name.items():
            total = self._sum(name, values, losses)
            self._sums[name] = self._sums[name] + total if name in self._sums else total

    def read(self) -> dict[str, float]:
        """Wait for the device and return the means."""
        return {name: float(total.asscalar()) / self._examples for name, total in self._sums.items()}

    def _sum(self, name: str, values: Any, losses: mx.nd.NDArray) -> mx.nd.NDArray:
        """Sum the values of a batch in float32; a mean counts once per example."""
        if not isinstance(values, mx.nd.NDArray):
            values = mx.nd.array(np.atleast_1d(np.asarray(values, np.float32)), ctx=losses.context)
        values = values.astype("float32", copy=False)
        if values.size == 1:
            return values.reshape(1) * len(losses)
        return _average_each(self._task_name, name, values, len(losses)).sum()


def train(
    net: gluon.Block, task: Task, data: DeviceData, hyperparameters: Hyperparameters, seed: list[int]
) -> dict[str, float]:
    """Train in place with SGD, and with FedProx's proximal term if its weight is above 0.

    The proximal term is that of Li et al. 2020 (arXiv:1812.06127).

    Args:
        net: initialized, on the device of `data`.
        task: its loss is minimized; its metrics are measured on each batch before the step.
        data: the node's training data.
        hyperparameters: of this round.
        seed: of shuffles and dropout, for this message alone.

    Returns:
        The means of loss and metrics over the last epoch, and `num-examples`, the examples of one epoch.

    Raises:
        TrainingFailedError: the loss is not finite.
        SettingsError: the task's network, loss or metrics raise or return a wrong type or shape.
    """
    rng = np.random.default_rng(seed)
    mx.random.seed(int(rng.integers(2**31)))
    trained = [parameter for parameter in net.collect_params().values() if is_trained(parameter)]
    optimizer = _make_optimizer(trained, hyperparameters)
    proximal = ProximalTerm(trained, hyperparameters.proximal_mu)
    means: dict[str, float] = {}
    for epoch in range(hyperparameters.local_epochs):
        sums = _Sums(task.name)
        for examples, labels in data.shuffled_batches(hyperparameters.batch_size, rng):
            _clear_added(trained)
            with autograd.record():
                outputs, losses = _forward(net, task, examples, labels)
            losses.backward()
            proximal.add_gradients(len(labels))
            # A parameter on which this batch's loss does not depend has no new gradient and stays as it is.
            optimizer.step(len(labels), ignore_stale_grad=True)
            _measure(sums, task, outputs, labels, losses)
        means = sums.read()
        if not math.isfinite(means[_LOSS]):
            raise TrainingFailedError(
                f"the loss is {means[_LOSS]} in epoch {epoch + 1} of {hyperparameters.local_epochs}; expected"
                f" a finite number: LEARNING_RATE={hyperparameters.learning_rate:g} is probably too high;"
                " otherwise look for log(0) and x/0 in the task's loss, and for large inputs (all are finite)"
            )
    return {**means, _COUNT: len(data)}


def evaluate(net: gluon.Block, task: Task, data: DeviceData, batch_size: int) -> dict[str, float]:
    """Evaluate a network.

    Returns:
        The means of loss and metrics over all of `data`, and `num-examples`.

    Raises:
        SettingsError: the task's network, loss or metrics raise or return a wrong type or shape.
    """
    sums = _Sums(task.name)
    for examples, labels in data.batches(batch_size):
        outputs, losses = _forward(net, task, examples, labels)
        _measure(sums, task, outputs, labels, losses)
    return {**sums.read(), _COUNT: len(data)}


def _make_optimizer(trained: list[gluon.Parameter], hyperparameters: Hyperparameters) -> gluon.Trainer:
    options = {
        "learning_rate": hyperparameters.learning_rate,
        "momentum": hyperparameters.momentum,
        # By default MXNet leaves out the momentum of rows whose sparse gradient is empty, and warns of it.
        "lazy_update": False,
    }
    return gluon.Trainer(trained, "sgd", options, kvstore=None)


def _forward(
    net: gluon.Block, task: Task, examples: mx.nd.NDArray, labels: mx.nd.NDArray
) -> tuple[Any, mx.nd.NDArray]:
    """Return the outputs for a batch, and one loss per example."""
    with task_errors(task.name, "the network"):
        outputs = net(examples)
    with task_errors(task.name, "the loss"):
        losses = task.loss(outputs, labels)
        if not isinstance(losses, mx.nd.NDArray):
            raise SettingsError(
                f"TASK={task.name}: the loss returned {describe(losses)};"
                " expected an MXNet array with one value per example"
            )
        return outputs, _average_each(task.name, _LOSS, losses, len(labels))


def _measure(sums: _Sums, task: Task, outputs: Any, labels: mx.nd.NDArray, losses: mx.nd.NDArray) -> None:
    """Add a batch's losses and metrics."""
    with task_errors(task.name, "metrics()"):
        metrics = task.metrics(outputs, labels)
        if not isinstance(metrics, Mapping):
            raise SettingsError(
                f"TASK={task.name}: metrics() returned {describe(metrics)}; expected a dict of values by name"
            )
        for name in {_LOSS, _COUNT} & metrics.keys():
            raise SettingsError(
                f"TASK={task.name}: metrics() returned {name!r}, which is always measured;"
                " expected other names"
            )
        sums.add(losses, metrics)


def _clear_added(parameters: list[gluon.Parameter]) -> None:
    # gluon adds to gradients of this kind until they are cleared, and a step is one batch.
    for parameter in parameters:
        if parameter.grad_req == "add":
            parameter.zero_grad()


def check_metric_names(task_name: str, some: Collection[str], others: Collection[str]) -> None:
    """Check that two batches have the same metrics: the mean of one that a batch lacks would be wrong.

    Raises:
        SettingsError: they differ.
    """
    differing = set(some) ^ set(others)
    if differing:
        raise SettingsError(
            f"TASK={task_name}: metrics() returned {', '.join(sorted(differing))} for some batches only;"
            " expected the same names for every batch"
        )


def _check_spelling(task_name: str, names: Iterable[object]) -> None:
    for name in names:
        try:
            parsing.name(name if isinstance(name, str) else "")
        except ValueError as error:
            found = printable(repr(name))[:100]
            raise SettingsError(f"TASK={task_name}: metrics() returned the name {found}; {error}") from None


def _average_each(task_name: str, name: str, values: mx.nd.NDArray, count: int) -> mx.nd.NDArray:
    """Average several values per example, such as one per pixel, to one."""
    if len(values) != count:
        raise SettingsError(
            f"TASK={task_name}: {name} has shape {values.shape} for a batch of {count};"
            " expected one row per example"
        )
    return values if values.ndim == 1 else values.reshape((count, -1)).mean(axis=1)
