"""The train and evaluate loops: one node, one message, no state kept from the one before."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from client.model import is_trained
from client.mx import autograd, gluon, mx
from client.task import Metrics
from fedmx.errors import TrainingFailedError

_INDEX_DTYPE = "int32"


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
        examples: (n, ...).
        labels: (n, ...); class numbers as float32, as MXNet's losses take them.
    """

    examples: mx.nd.NDArray
    labels: mx.nd.NDArray

    @classmethod
    def put(cls, examples: np.ndarray, labels: np.ndarray, device: mx.Context) -> "DeviceData":
        """Copy a dataset to the device."""
        dtype = np.float32 if labels.dtype.kind in "iub" else labels.dtype
        return cls(
            mx.nd.array(examples, ctx=device, dtype=examples.dtype),
            mx.nd.array(labels, ctx=device, dtype=dtype),
        )

    def __len__(self) -> int:
        return len(self.labels)


class _Sums:
    """Sums of what is measured, kept on the device: reading them stops MXNet's engine, so once an epoch."""

    def __init__(self, device: mx.Context) -> None:
        self._device = device
        self._sums: dict[str, mx.nd.NDArray] = {}
        self._examples = 0

    def add(self, losses: mx.nd.NDArray, measured: Mapping[str, Any]) -> None:
        """Add a batch.

        Args:
            losses: one an example.
            measured: by name, one value an example, or the batch's mean as any kind of number.
        """
        count = len(losses)
        self._examples += count
        for name, values in {"loss": losses, **measured}.items():
            total = _sum_of_batch(values, count, self._device)
            self._sums[name] = self._sums[name] + total if name in self._sums else total

    def read(self) -> dict[str, float]:
        """Wait for the device, and give the means."""
        return {name: float(total.asscalar()) / self._examples for name, total in self._sums.items()}


def train(
    net: gluon.HybridBlock,
    loss: gluon.loss.Loss,
    metrics: Metrics,
    data: DeviceData,
    how: Hyperparameters,
    seed: list[int],
) -> dict[str, float]:
    """Train in place with SGD, and FedProx's proximal term (Li et al. 2020, arXiv:1812.06127) if its weight is above 0.

    Args:
        net: initialized, on the device of `data`.
        loss: one loss an example.
        metrics: what else to measure, per batch.
        data: the node's training data.
        how: hyperparameters.
        seed: of the shuffles and of dropout, for this message alone.

    Returns:
        The means of loss and metrics over the last epoch, and `num-examples`, the examples of one epoch.

    Raises:
        TrainingFailedError: the loss is not finite.
    """
    rng = np.random.default_rng(seed)
    mx.random.seed(int(rng.integers(2**31)))
    options = {"learning_rate": how.learning_rate, "momentum": how.momentum}
    trained = [parameter for parameter in net.collect_params().values() if is_trained(parameter)]
    trainer = gluon.Trainer(trained, "sgd", options, kvstore=None)
    pull = _ProximalPull(trained, how.proximal_mu)
    means: dict[str, float] = {}
    for epoch in range(how.local_epochs):
        sums = _Sums(data.labels.context)
        for examples, labels in _shuffled_batches(data, how.batch_size, rng):
            with autograd.record():
                outputs = net(examples)
                losses = _per_example(loss(outputs, labels))
            losses.backward()
            pull.add_gradients(len(labels))
            trainer.step(len(labels))
            sums.add(losses, metrics(outputs, labels))
        means = sums.read()
        if not math.isfinite(means["loss"]):
            raise TrainingFailedError(
                f"the loss is {means['loss']} in epoch {epoch + 1} of {how.local_epochs};"
                f" expected a finite number, try a LEARNING_RATE below {how.learning_rate:g}"
            )
    return {**means, "num-examples": len(data)}


def evaluate(
    net: gluon.HybridBlock, loss: gluon.loss.Loss, metrics: Metrics, data: DeviceData, batch_size: int
) -> dict[str, float]:
    """Measure a network.

    Returns:
        The means of loss and metrics over all of `data`, and `num-examples`.
    """
    sums = _Sums(data.labels.context)
    for start in range(0, len(data), batch_size):
        examples, labels = data.examples[start : start + batch_size], data.labels[start : start + batch_size]
        outputs = net(examples)
        sums.add(_per_example(loss(outputs, labels)), metrics(outputs, labels))
    return {**sums.read(), "num-examples": len(data)}


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


def _shuffled_batches(
    data: DeviceData, batch_size: int, rng: np.random.Generator
) -> Iterator[tuple[mx.nd.NDArray, mx.nd.NDArray]]:
    """Give every example once, in a new order; the last batch may be short."""
    order = mx.nd.array(rng.permutation(len(data)), ctx=data.labels.context, dtype=_INDEX_DTYPE)
    for start in range(0, len(data), batch_size):
        chosen = order[start : start + batch_size]
        yield mx.nd.take(data.examples, chosen), mx.nd.take(data.labels, chosen)


def _per_example(losses: mx.nd.NDArray) -> mx.nd.NDArray:
    """Average a loss that has more than one value an example (a pixel's, say) to one."""
    return losses if losses.ndim == 1 else losses.reshape((len(losses), -1)).mean(axis=1)


def _sum_of_batch(values: Any, count: int, device: mx.Context) -> mx.nd.NDArray:
    if not isinstance(values, mx.nd.NDArray):
        numbers = np.asarray(values, np.float32)
        total = float(numbers) * count if numbers.ndim == 0 else float(numbers.sum())
        return mx.nd.array([total], ctx=device)
    summed = values.astype("float32", copy=False).sum()
    return summed * count if values.size == 1 and count > 1 else summed
