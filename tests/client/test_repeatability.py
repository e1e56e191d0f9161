"""Training is repeatable: its result depends on arrays, data, hyperparameters and seed only."""

import os
import subprocess
import sys

import numpy as np
import pytest

from client.mx import gluon, mx
from client.training import evaluate, train
from tests.client.given.small import (
    CLASSES,
    CPU,
    Floats,
    how,
    make_clusters,
    make_mlp,
    make_ones,
    make_scale,
    make_task,
    put_data,
    put_values,
    scores_of,
    values_of,
)

FAST = how(epochs=2, batch_size=10, learning_rate=0.1, momentum=0.9)


def train_from(net: gluon.HybridBlock, start: list[Floats], seed: list[int]) -> list[Floats]:
    put_values(net, start)
    train(net, CLASSES, make_clusters(43), FAST, seed)
    return values_of(net)


def are_same(some: list[Floats], others: list[Floats]) -> bool:
    return all((a == b).all() for a, b in zip(some, others, strict=True))


@pytest.mark.parametrize("layers", [(), (gluon.nn.BatchNorm,), (lambda: gluon.nn.Dropout(0.5),)])
def test_training_does_not_depend_on_earlier_training(layers: tuple[type[gluon.HybridBlock]]) -> None:
    net = make_mlp(*(layer() for layer in layers))
    scores_of(net, make_clusters(2))
    start = values_of(net)
    first = train_from(net, start, [0, 1, 0])
    other = train_from(net, first, [0, 2, 1])
    evaluate(net, CLASSES, make_clusters(7), how(batch_size=3))
    assert are_same(train_from(net, start, [0, 1, 0]), first)
    assert not are_same(first, other)


def test_another_network_of_the_process_trains_to_the_same_bits() -> None:
    one, two = make_mlp(gluon.nn.BatchNorm(in_channels=5)), make_mlp(gluon.nn.BatchNorm(in_channels=5))
    start = values_of(one)
    assert are_same(train_from(one, start, [0, 1, 0]), train_from(two, start, [0, 1, 0]))


DECODES_AND_DRAWS = """
import numpy as np
from client import png
from client.batches import StreamedData
from client.mx import gluon, mx
from client.training import train
from tests.client.given.small import CLASSES, CPU, how, make_mlp, values_of

image = png.encode(np.random.default_rng(0).integers(256, size=(40, 40, 3)).astype(np.uint8))
vision = gluon.data.vision.transforms
draw = vision.Compose([vision.RandomResizedCrop((2, 1)), vision.RandomFlipLeftRight(), vision.ToTensor()])

def decode(label):
    return draw(mx.image.imdecode(image)), label

data = gluon.data.SimpleDataset([number % 3 for number in range(40)]).transform(decode)
net = make_mlp(gluon.nn.Dropout(0.5))
train(net, CLASSES, StreamedData(data, np.arange(40), CPU), how(epochs=2, batch_size=10), [0, 1, 0])
print([array.tobytes().hex() for array in values_of(net)])
"""


@pytest.mark.slow
def test_more_threads_of_the_engine_train_to_the_same_bits() -> None:
    # With more threads, images are decoded while a batch is computed, in an order that depends on timing.
    def run(threads: int) -> str:
        return subprocess.run(
            [sys.executable, "-c", DECODES_AND_DRAWS],
            env={**os.environ, "MXNET_CPU_WORKER_NTHREADS": str(threads)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout

    one = run(1)
    assert len(one) > len("[]")
    assert one == run(3)


def order_of(seed: list[int], epochs: int = 1) -> list[int]:
    """Return the numbers of the examples in the order in which a training uses them."""
    used: list[int] = []

    def note(outputs: mx.nd.NDArray, labels: mx.nd.NDArray) -> dict[str, float]:
        used.extend(labels.asnumpy().astype(int).ravel())
        return {}

    numbers = np.arange(31)
    data = put_data(np.zeros((31, 1), np.float32), numbers[:, None])
    train(make_scale(), make_task(metrics=note), data, how(epochs=epochs, batch_size=4), seed)
    return used


@pytest.mark.parametrize("other", [[1, 1, 0], [0, 2, 0], [0, 1, 1]])
def test_seed_round_and_partition_each_change_the_shuffle(other: list[int]) -> None:
    assert order_of([0, 1, 0]) == order_of([0, 1, 0])
    assert order_of([0, 1, 0]) != order_of(other)


def test_every_epoch_uses_every_example_once_in_another_order() -> None:
    used = order_of([0, 1, 0], epochs=2)
    assert sorted(used[:31]) == sorted(used[31:]) == list(range(31))
    assert used[:31] != used[31:]


def test_dropout_depends_on_the_seed_of_the_message_only() -> None:
    net = gluon.nn.HybridSequential()
    # All examples are equal, so that the shuffle has no effect.
    net.add(gluon.nn.HybridLambda(lambda F, x: F.tile(x, (1, 64))), gluon.nn.Dropout(0.5))  # noqa: N803 - MXNet's
    net.add(gluon.nn.Dense(1, use_bias=False, in_units=64))
    net.initialize(mx.init.One(), ctx=CPU)
    net.hybridize(static_alloc=True, static_shape=True)
    start, data = values_of(net), make_ones(5)
    ends = []
    for seed in ([3, 1, 0], [3, 2, 0], [3, 1, 0]):
        put_values(net, start)
        # A draw in between has no effect.
        mx.nd.random.uniform(shape=(7,))
        train(net, make_task(), data, how(learning_rate=0.01), seed)
        ends.append(values_of(net))
    assert are_same(ends[0], ends[2])
    assert not are_same(ends[0], ends[1])


def test_running_statistics_change_by_a_tenth_in_training_and_never_in_evaluation() -> None:
    net = gluon.nn.HybridSequential()
    net.add(gluon.nn.BatchNorm(in_channels=1), gluon.nn.Dense(1, in_units=1))
    net.initialize(ctx=CPU)
    net.hybridize(static_alloc=True, static_shape=True)
    data = put_data(np.array([[1.0], [3.0]]), np.zeros((2, 1)))
    evaluate(net, make_task(), data, how(batch_size=2))
    mean, variance = net[0].running_mean.data(), net[0].running_var.data()
    assert (mean.asscalar(), variance.asscalar()) == (0, 1)
    train(net, make_task(), data, how(), [0])
    # The mean of 1 and 3 is 2. MXNet's variance divides by n.
    assert mean.asscalar() == pytest.approx(0.9 * 0 + 0.1 * 2)
    assert variance.asscalar() == pytest.approx(0.9 * 1 + 0.1 * 1)


@pytest.mark.parametrize("count", [40, 43, 41, 3])
def test_static_shapes_compute_the_same_as_plain_execution(count: int) -> None:
    data, ends = make_clusters(count), []
    for hybridized in (True, False):
        net = make_mlp(gluon.nn.BatchNorm(in_channels=5), hybridized=hybridized)
        means = [train(net, CLASSES, data, FAST, [0, number, 0]) for number in (1, 2)]
        ends.append((values_of(net), [*means, evaluate(net, CLASSES, data, how(batch_size=7))]))
    (hybrid, hybrid_means), (plain, plain_means) = ends
    for a, b in zip(hybrid, plain, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-5)
    assert hybrid_means == [pytest.approx(means, abs=1e-5) for means in plain_means]
