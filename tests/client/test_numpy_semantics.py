"""Tasks that compute with MXNet's numpy arrays, as scripts do after `npx.set_np()`."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from client.context import Context
from client.data import make_dataset
from client.device import Devices
from client.mx import autograd, gluon, mx
from client.shares import DataShare
from client.task import Task, accuracy
from client.trainer import Trainer
from fedmx import arrays
from fedmx.errors import SettingsError
from fedmx.hyperparameters import Hyperparameters
from fedmx.values import PartitionRule
from tests.client.given import clusters
from tests.client.given.small import CPU

HOW = Hyperparameters(local_epochs=2, batch_size=20, learning_rate=0.1, proximal_mu=0.1)
ALL = DataShare(PartitionRule.parse("none"), None, 1, 0)
SEED = [0, 1, 0]


@contextmanager
def numpy_semantics(*, is_on: bool = True) -> Iterator[None]:
    """Do what `npx.set_np()` does, until the end of the block."""
    with mx.util.np_shape(is_on), mx.util.np_array(is_on):
        yield


def build() -> gluon.HybridBlock:
    net = gluon.nn.HybridSequential()
    net.add(gluon.nn.Dense(5, activation="relu"), gluon.nn.BatchNorm(), gluon.nn.Dense(4))
    return net


def make(**changes: Any) -> Trainer:
    parts = {
        "build_model": build,
        "load_data": load_arrays,
        "loss": gluon.loss.SoftmaxCrossEntropyLoss(),
        "metrics": accuracy,
    }
    trainer = Trainer(Task("clusters", **parts | changes), Path(), Devices([CPU]))
    trainer.load_partition(ALL)
    return trainer


def train(*, is_on: bool, **changes: Any) -> tuple[list[Any], dict[str, float]]:
    with numpy_semantics(is_on=is_on):
        trainer = make(**changes)
        updated, _ = trainer.train(trainer.initial_arrays(3), HOW, 1, SEED)
        return [arrays.view(array) for array in updated.values()], trainer.evaluate(updated, HOW, 1, SEED)


def load_arrays(folder: Path) -> Any:
    return [make_dataset("set", *pair) for pair in clusters.load_data(folder)]


def load_lazily(folder: Path) -> Any:
    (examples, labels), _ = clusters.load_data(folder)
    # Of the kind that is switched on, as a script's own arrays are.
    make_array = mx.np.array if mx.util.is_np_array() else mx.nd.array
    return gluon.data.ArrayDataset(make_array(examples), labels), load_arrays(folder)[1]


@pytest.mark.parametrize("load_data", [load_arrays, load_lazily])
def test_the_built_in_loop_trains_the_same_model_with_numpy_arrays(load_data: Any) -> None:
    expected, expected_metrics = train(is_on=False, load_data=load_data)
    found, metrics = train(is_on=True, load_data=load_data)
    for array, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(array, other, rtol=1e-4, atol=1e-5)
    assert metrics == pytest.approx(expected_metrics, rel=1e-4)


def own_train(net: gluon.Block, data: gluon.data.Dataset, context: Context) -> Any:
    examples, labels = data[:]
    with autograd.record():
        losses = gluon.loss.SoftmaxCrossEntropyLoss()(net(mx.np.array(examples)), mx.np.array(labels))
    losses.backward()
    trainer = gluon.Trainer(net.collect_params(), "sgd", {"learning_rate": context.learning_rate})
    trainer.step(len(data))
    return {"loss": losses.mean() + context.pull(net)}


def test_own_loops_compute_with_numpy_arrays() -> None:
    with numpy_semantics():
        trainer = make(train=own_train)
        updated, numbers = trainer.train(trainer.initial_arrays(3), HOW, 1, SEED)
    assert numbers["loss"] > 0
    assert numbers["num-examples"] == 230
    assert updated["0.weight"].shape == (5, 8)


def test_a_shape_that_no_example_infers_is_named() -> None:
    class Partial(gluon.HybridBlock):  # type: ignore[misc] # MXNet has no types
        def __init__(self) -> None:
            super().__init__()
            self.used = gluon.nn.Dense(4)
            self.other = gluon.nn.Dense(4)

        def forward(self, x: Any) -> Any:
            return self.used(x)

    with numpy_semantics(), pytest.raises(SettingsError, match=r"no batch reached other.weight"):
        make(build_model=Partial)
