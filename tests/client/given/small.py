"""Networks, data and losses that are small enough for calculation by hand."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from client.batches import DeviceData
from client.context import Context
from client.data import Dataset
from client.device import put
from client.mx import autograd, gluon, mx
from client.task import Loss, Metrics, Task, accuracy
from fedmx.hyperparameters import Hyperparameters

Floats = NDArray[np.float32]
CPU = mx.cpu()


def measure_nothing(outputs: mx.nd.NDArray, labels: mx.nd.NDArray) -> dict[str, Any]:
    return {}


def make_task(loss: Loss | None = None, metrics: Metrics = measure_nothing) -> Task:
    """Build a task for a training whose network and data come from the test."""
    return Task("by-hand", _refuse, _refuse, loss or gluon.loss.L2Loss(), metrics)


def _refuse(_: Path | None = None) -> Any:
    raise AssertionError


def make_scale(weight: float = 1.0) -> gluon.HybridBlock:
    """Build y = weight * x."""
    net = gluon.nn.Dense(1, use_bias=False, in_units=1)
    net.initialize(mx.init.Constant(weight), ctx=CPU)
    return net


def make_mlp(*extra: gluon.HybridBlock, hybridized: bool = True, seed: int = 3) -> gluon.HybridBlock:
    """Build 6 -> 5 -> 4 with other layers between, initialized."""
    net = gluon.nn.HybridSequential()
    net.add(gluon.nn.Dense(5, activation="tanh", in_units=6), *extra, gluon.nn.Dense(4, in_units=5))
    mx.random.seed(seed)
    net.initialize(mx.init.Xavier(), ctx=CPU)
    if hybridized:
        net.hybridize(static_alloc=True, static_shape=True)
    return net


def put_data(examples: NDArray[Any], labels: NDArray[Any], device: mx.Context = CPU) -> DeviceData:
    return DeviceData.put(Dataset(examples, labels), device)


def inputs_of(examples: NDArray[Any]) -> tuple[mx.nd.NDArray]:
    """Return the inputs of a batch on the CPU."""
    return (put(examples, CPU),)


def make_ones(count: int) -> DeviceData:
    """Return examples that are all x = 1 with the label 0, so that the shuffle has no effect."""
    return put_data(np.ones((count, 1), np.float32), np.zeros((count, 1), np.float32))


def make_clusters(count: int, seed: int = 5) -> DeviceData:
    """Draw four clusters in six dimensions, with their numbers as labels."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(4, size=count)
    examples = 2 * np.eye(6)[labels] + rng.standard_normal((count, 6))
    return put_data(examples.astype(np.float32), labels)


def how(epochs: int = 1, batch_size: int = 2, **others: Any) -> Context:
    rates = {"learning_rate": 0.5, "momentum": 0.0, "proximal_mu": 0.0} | others
    return Context(Hyperparameters(epochs, batch_size, **rates))


def values_of(net: gluon.HybridBlock) -> list[Floats]:
    """Copy all parameters, in the network's order."""
    return [parameter.data().asnumpy() for parameter in net.collect_params().values()]


def put_values(net: gluon.HybridBlock, values: list[Floats]) -> None:
    with autograd.pause():
        for parameter, array in zip(net.collect_params().values(), values, strict=True):
            parameter.data()[:] = array


def scores_of(net: gluon.HybridBlock, data: DeviceData) -> Floats:
    outputs: Floats = net(*data.inputs).asnumpy()
    return outputs


CLASSES = make_task(gluon.loss.SoftmaxCrossEntropyLoss(), accuracy)
