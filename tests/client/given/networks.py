"""A network with every kind of array, and its values."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from client import model
from client.mx import gluon
from client.training import evaluate, train
from tests.client.given.small import CLASSES, how, inputs_of, put_data

SAMPLE = np.linspace(-1, 1, 2 * 6 * 6, dtype=np.float32).reshape(2, 1, 6, 6)


def build() -> gluon.HybridBlock:
    """Build a network with every kind of parameter, some of unknown shape."""
    net = gluon.nn.HybridSequential()
    net.add(
        gluon.nn.Conv2D(3, kernel_size=3),
        gluon.nn.BatchNorm(),
        gluon.nn.Activation("relu"),
        gluon.nn.Dense(4),
    )
    return net


def make(seed: int = 0, *, hybridized: bool = True) -> tuple[gluon.HybridBlock, model.Parameters]:
    """Return an initialized network and its parameters."""
    net = build()
    model.initialize(net, seed, inputs_of(SAMPLE))
    if hybridized:
        net.hybridize(static_alloc=True, static_shape=True)
    return net, model.name_parameters(net)


def start(net: gluon.Block, seeds: Iterable[int] = (0,)) -> list[dict[str, NDArray[Any]]]:
    """Return a network's initial arrays for each seed, with training in between."""
    given = model.find_given(net)
    found = []
    for seed in seeds:
        model.initialize(net, seed, inputs_of(SAMPLE), given)
        net.hybridize(static_alloc=True, static_shape=True)
        parameters = model.name_parameters(net)
        found.append({name: array.numpy() for name, array in model.read(parameters).items()})
        data = put_data(SAMPLE, np.arange(len(SAMPLE)))
        train(net, CLASSES, data, how(epochs=2), [1])
        evaluate(net, CLASSES, data, how(batch_size=2))
    return found


def values_by_name(net: gluon.Block) -> dict[str, NDArray[Any]]:
    """Return copies of a network's arrays."""
    return {name: array.numpy() for name, array in model.read(model.name_parameters(net)).items()}
