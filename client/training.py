"""The train and evaluate loops: one node, one message, no state kept from the one before."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from client.device import put
from client.model import is_trained
from client.mx import autograd, gluon, mx
from client.task import Task, task_errors
from fedmx.errors import SettingsError, TrainingFailedError

_COUNT = "num-examples"
_LOSS = "loss"


@dataclass(frozen=True)
class Hyperparameters:
    """How to train; the server sends them with every message."""

    local_epochs: int
    batch_size: int
    learning_rate: float
    momentum: float
    proximal_mu: float


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
        """Copy a dataset to the device, or the rows of it that are chosen by index."""
        return cls(put(examples, device, chosen), put(labels, device, chosen))

    def __len__(self) -> int:
        return len(self.labels)

    def batches(self, batch_size: int) -> Iterator[tuple[mx.nd.NDArray, mx.nd.NDArray]]:
        """Give every example once, in order; the last batch may be short."""
        for start in range(0, len(self), batch_size):
            yield self.examples[start : start + batch_size], self.labels[start : start + batch_size]

    def shuffled_batches(
        self, batch_size: int, rng: np.random.Generator
    ) -> Iterator[tuple[mx.nd.NDArray, mx.nd.NDArray]]:
        """Give every example once, in a new order; the last batch may be short."""
        order = mx.nd.array(rng.permutation(len(self)), ctx=self.labels.context, dtype="int32")
        for start in range(0, len(self), batch_size):
            chosen = order[start : start + batch_size]
            yield mx.nd.take(self.examples, chosen), mx.nd.take(self.labels, chosen)


class _Sums:
    """Sums of what is measured, kept on the device: reading them stops MXNet's engine, so once an epoch."""

    def __init__(self) -> None:
        self._sums: dict[str, mx.nd.NDArray] = {}
        self._examples = 0

    def add(self, losses: mx.nd.NDArray, measured: Mapping[str, Any]) -> None:
        """Add a batch.

        Args:
            losses: one an example.
            measured: by name, one value or several an example, or the batch's mean; as any kind of number.
        """
        self._examples += len(losses)
        for name, values in {_LOSS: losses, **measured}.items():
            total = _sum_of_batch(name, values, losses)
            if name in self._sums:
                self._sums[name] += total
            else:
                self._sums[name] = total

    def read(self) -> dict[str, float]:
        """Wait for the device, and give the means."""
        return {name: float(total.asscalar()) / self._examples for name, total in self._sums.items()}


def train(
    net: gluon.Block, task: Task, data: DeviceData, how: Hyperparameters, seed: list[int]
) -> dict[str, float]:
    """Train in place with SGD, and FedProx's proximal term where its weight is above 0.

    The term is of Li et al. 2020 (arXiv:1812.06127).

    Args:
        net: initialized, on the device of `data`.
        task: whose loss is minimized and whose metrics are measured, on each batch before its step.
        data: the node's training data.
        how: hyperparameters.
        seed: of the shuffles and of dropout, for this message alone.

    Returns:
        The means of loss and metrics over the last epoch, and `num-examples`, the examples of one epoch.

    Raises:
        TrainingFailedError: the loss is not finite.
        SettingsError: the task's network, loss or metrics raise, or give what they should not.
    """
    rng = np.random.default_rng(seed)
    mx.random.seed(int(rng.integers(2**31)))
    options = {"learning_rate": how.learning_rate, "momentum": how.momentum}
    trained = [parameter for parameter in net.collect_params().values() if is_trained(parameter)]
    trainer = gluon.Trainer(trained, "sgd", options, kvstore=None)
    pull = _ProximalPull(trained, how.proximal_mu)
    means: dict[str, float] = {}
    for epoch in range(how.local_epochs):
        sums = _Sums()
        for examples, labels in data.shuffled_batches(how.batch_size, rng):
            _clear_added(trained)
            with autograd.record():
                outputs, losses = _forward(net, task, examples, labels)
            losses.backward()
            pull.add_gradients(len(labels))
            # A parameter that this batch's loss does not depend on keeps its value.
            trainer.step(len(labels), ignore_stale_grad=True)
            _measure(sums, task, outputs, labels, losses)
        means = sums.read()
        if not math.isfinite(means[_LOSS]):
            raise TrainingFailedError(
                f"the loss is {means[_LOSS]} in epoch {epoch + 1} of {how.local_epochs};"
                f" expected a finite number, try a LEARNING_RATE below {how.learning_rate:g}"
            )
    return {**means, _COUNT: len(data)}


def evaluate(net: gluon.Block, task: Task, data: DeviceData, batch_size: int) -> dict[str, float]:
    """Measure a network.

    Returns:
        The means of loss and metrics over all of `data`, and `num-examples`.

    Raises:
        SettingsError: the task's network, loss or metrics raise, or give what they should not.
    """
    sums = _Sums()
    for examples, labels in data.batches(batch_size):
        outputs, losses = _forward(net, task, examples, labels)
        _measure(sums, task, outputs, labels, losses)
    return {**sums.read(), _COUNT: len(data)}


def _forward(
    net: gluon.Block, task: Task, examples: mx.nd.NDArray, labels: mx.nd.NDArray
) -> tuple[Any, mx.nd.NDArray]:
    """Give the outputs for a batch, and one loss an example."""
    with task_errors(task.name, "the network"):
        outputs = net(examples)
    with task_errors(task.name, "the loss"):
        return outputs, _average_each(_LOSS, task.loss(outputs, labels), len(labels))


def _measure(sums: _Sums, task: Task, outputs: Any, labels: mx.nd.NDArray, losses: mx.nd.NDArray) -> None:
    """Add a batch's losses and what the task measures of it."""
    with task_errors(task.name, "metrics()"):
        measured = task.metrics(outputs, labels)
        if not isinstance(measured, Mapping):
            raise SettingsError(
                f"TASK={task.name}: metrics() gave {type(measured).__name__};"
                " expected a dict of values by name"
            )
        for name in (_LOSS, _COUNT):
            if name in measured:
                raise SettingsError(
                    f"TASK={task.name}: metrics() gave {name!r}, which is measured anyway;"
                    " expected other names"
                )
        sums.add(losses, measured)


def _clear_added(parameters: list[gluon.Parameter]) -> None:
    # Gluon adds to these gradients for ever; a step is of one batch.
    for parameter in parameters:
        if parameter.grad_req == "add":
            parameter.zero_grad()


class _ProximalPull:
    """FedProx: adds mu * (w - w_global) to the gradients of a batch."""

    def __init__(self, parameters: list[gluon.Parameter], mu: float) -> None:
        self._mu = mu
        self._pairs = [(p, p.data().copy()) for p in parameters] if mu > 0 else []

    def add_gradients(self, batch_size: int) -> None:
        """Add the term's gradient, times the batch's size: the trainer divides by it."""
        for parameter, start in self._pairs:
            gradient = parameter.grad()
            gradient += (self._mu * batch_size) * (parameter.data() - start)


def _average_each(name: str, values: mx.nd.NDArray, count: int) -> mx.nd.NDArray:
    """Average several values an example (a pixel's, say) to one."""
    if len(values) != count:
        raise SettingsError(
            f"TASK: {name} has shape {values.shape} for a batch of {count}; expected a row an example"
        )
    return values if values.ndim == 1 else values.reshape((count, -1)).mean(axis=1)


def _sum_of_batch(name: str, values: Any, losses: mx.nd.NDArray) -> mx.nd.NDArray:
    """Sum a batch's values, or its mean times its size, in float32 on the device of the losses."""
    if not isinstance(values, mx.nd.NDArray):
        values = mx.nd.array(np.atleast_1d(np.asarray(values, np.float32)), ctx=losses.context)
    values = values.astype("float32", copy=False)
    if values.size == 1:
        return values.reshape(1) * len(losses)
    return _average_each(name, values, len(losses)).sum()
