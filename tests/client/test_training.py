"""Training and evaluation against arithmetic by hand: weights, losses and counts.

For a network y = w * x with x = 1 and the label 0, L2 loss is w * w / 2 and its gradient w; a step of
learning rate 0.5 halves w. All numbers are powers of two, which float32 represents exactly.
"""

import numpy as np
import pytest
from numpy.typing import NDArray

from client.batches import DeviceData
from client.mx import gluon, mx
from client.training import evaluate, train
from fedmx.errors import TrainingFailedError
from fedmx.hyperparameters import Hyperparameters
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
    scores_of,
    values_of,
)

Doubles = NDArray[np.float64]


def weight_of(net: gluon.HybridBlock) -> float:
    weight: float = net.weight.data().asnumpy().item()
    return weight


# One weight


def test_a_short_last_batch_counts_by_its_size() -> None:
    net = make_scale()
    means = train(net, make_task(), make_ones(3), how(batch_size=2), [0])
    assert means == {"loss": (0.5 + 0.5 + 0.125) / 3, "num-examples": 3}
    assert weight_of(net) == 0.25


def test_gradients_that_gluon_adds_up_are_cleared_for_every_batch() -> None:
    net = make_scale()
    net.collect_params().setattr("grad_req", "add")
    for _ in range(2):
        train(net, make_task(), make_ones(2), how(batch_size=1), [0])
    assert weight_of(net) == 0.0625


def test_the_loss_is_the_mean_over_the_last_epoch_only() -> None:
    net = make_scale()
    means = train(net, make_task(), make_ones(3), how(epochs=2), [0])
    assert means == {"loss": (0.03125 + 0.03125 + 0.0078125) / 3, "num-examples": 3}
    assert weight_of(net) == 0.0625


def test_momentum_carries_half_of_the_step_before() -> None:
    net = make_scale()
    means = train(net, make_task(), make_ones(3), how(epochs=2, momentum=0.5), [0])
    # w: 1, -0.5 -> 0.5, -0.25 - 0.25 -> 0; then -0.25 - 0 -> -0.25, -0.125 + 0.125 -> -0.25
    assert weight_of(net) == -0.25
    assert means["loss"] == (0 + 0 + 0.03125) / 3


def test_the_proximal_term_pulls_to_the_weights_that_came_from_the_server() -> None:
    net = make_scale()
    train(net, make_task(), make_ones(4), how(batch_size=2, proximal_mu=1.0), [0])
    # Step 1: gradient 1 + 0 -> w = 0.5. Step 2: gradient 0.5 + 1 * (0.5 - 1) = 0.
    assert weight_of(net) == 0.5


def test_the_proximal_term_has_the_same_weight_in_a_short_batch() -> None:
    net = make_scale()
    train(net, make_task(), make_ones(5), how(batch_size=4, proximal_mu=0.5), [0])
    # Step 1, of four: w = 0.5. Step 2, of one: gradient 0.5 + 0.5 * (0.5 - 1) = 0.25.
    assert weight_of(net) == 0.375


def square(outputs: mx.nd.NDArray, labels: mx.nd.NDArray) -> mx.nd.NDArray:
    return mx.nd.broadcast_sub(outputs, labels) ** 2


def test_the_losses_of_an_examples_pixels_are_averaged() -> None:
    net = gluon.nn.HybridLambda(lambda F, pixels: F.identity(pixels))  # noqa: N803 - MXNet's name
    pixels = np.arange(12, dtype=np.float32).reshape(3, 2, 2)
    data = put_data(pixels, np.zeros((3, 2, 2), np.uint8))
    means = evaluate(net, make_task(square), data, how(batch_size=2))
    assert means == {"loss": sum(value**2 for value in range(12)) / 12, "num-examples": 3}


def test_a_step_minimizes_the_average_of_an_examples_losses() -> None:
    net = make_scale()
    data = put_data(np.ones((2, 1), np.float32), np.array([[0, 1], [0, 1]]))
    means = train(net, make_task(square), data, how(), [0])
    assert means["loss"] == (1 + 0) / 2
    assert weight_of(net) == 1 - 0.5 * (2 + 0) / 2


@pytest.mark.parametrize(
    ("epochs", "rate", "message"),
    [
        (
            3,
            1e20,
            "the loss is inf in epoch 2 of 3; expected a finite number: LEARNING_RATE=1e+20 ",
        ),
        (
            1,
            1e30,
            "the loss is nan in epoch 1 of 1; expected a finite number: LEARNING_RATE=1e+30 ",
        ),
    ],
)
def test_a_loss_that_is_not_finite_is_an_error_with_epoch_and_rate(
    epochs: int, rate: float, message: str
) -> None:
    data = make_ones(2 if epochs > 1 else 8)
    with pytest.raises(TrainingFailedError) as caught:
        train(make_scale(), make_task(), data, how(epochs=epochs, learning_rate=rate), [0])
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


# A layer with bias and softmax, in numpy with the same shuffles


def train_by_hand(
    weights: Doubles, bias: Doubles, data: DeviceData, settings: Hyperparameters, seed: list[int]
) -> tuple[Doubles, Doubles, float, float]:
    examples, labels = data.inputs[0].asnumpy().astype(np.float64), data.labels.asnumpy().astype(int)
    start = (weights, bias)
    speeds = [np.zeros_like(weights), np.zeros_like(bias)]
    rng = np.random.default_rng(seed)
    # The seed of dropout.
    rng.integers(2**31)
    losses: list[float] = []
    hits: list[bool] = []
    for _ in range(settings.local_epochs):
        losses, hits = [], []
        order = rng.permutation(len(labels))
        for at in range(0, len(labels), settings.batch_size):
            chosen = order[at : at + settings.batch_size]
            scores = examples[chosen] @ weights.T + bias
            shares = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
            losses += list(-np.log(shares[np.arange(len(chosen)), labels[chosen]]))
            hits += list(scores.argmax(axis=1) == labels[chosen])
            slopes = (shares - np.eye(bias.size)[labels[chosen]]) / len(chosen)
            gradients = [slopes.T @ examples[chosen], slopes.sum(axis=0)]
            pulls = [weights - start[0], bias - start[1]]
            speeds = [
                settings.momentum * speed - settings.learning_rate * (gradient + settings.proximal_mu * pull)
                for speed, gradient, pull in zip(speeds, gradients, pulls, strict=True)
            ]
            weights, bias = weights + speeds[0], bias + speeds[1]
    return weights, bias, float(np.mean(losses)), float(np.mean(hits))


@pytest.mark.parametrize("mu", [0.0, 0.7])
@pytest.mark.parametrize(("count", "batch_size"), [(47, 10), (40, 10), (7, 100)])
def test_softmax_training_is_what_numpy_computes(count: int, batch_size: int, mu: float) -> None:
    data = make_clusters(count)
    net = gluon.nn.Dense(4, in_units=6)
    mx.random.seed(1)
    net.initialize(mx.init.Xavier(), ctx=CPU)
    context = how(3, batch_size, learning_rate=0.2, momentum=0.9, proximal_mu=mu)
    before = [net.weight.data().asnumpy().astype(np.float64), net.bias.data().asnumpy().astype(np.float64)]
    weights, bias, loss, hits = train_by_hand(before[0], before[1], data, context.hyperparameters, [7, 2, 1])
    means = train(net, CLASSES, data, context, [7, 2, 1])
    np.testing.assert_allclose(net.weight.data().asnumpy(), weights, rtol=0, atol=5e-5)
    np.testing.assert_allclose(net.bias.data().asnumpy(), bias, rtol=0, atol=5e-5)
    assert means["loss"] == pytest.approx(loss, abs=1e-5)
    assert means["accuracy"] == hits
    assert means["num-examples"] == count


@pytest.mark.parametrize("batch_size", [1, 4, 13, 100])
def test_evaluation_gives_every_example_the_same_weight_for_every_batch_size(batch_size: int) -> None:
    data, net = make_clusters(13), make_mlp(gluon.nn.BatchNorm(in_channels=5), gluon.nn.Dropout(0.5))
    scores = scores_of(net, data).astype(np.float64)
    labels = data.labels.asnumpy().astype(int)
    losses = np.log(np.exp(scores).sum(axis=1)) - scores[np.arange(13), labels]
    means = evaluate(net, CLASSES, data, how(batch_size=batch_size))
    assert means["loss"] == pytest.approx(losses.mean(), abs=1e-6)
    assert means["accuracy"] == (scores.argmax(axis=1) == labels).sum() / 13
    assert means["num-examples"] == 13


def test_evaluation_changes_no_parameter() -> None:
    net = make_mlp(gluon.nn.BatchNorm(in_channels=5), gluon.nn.Dropout(0.5))
    before = values_of(net)
    evaluate(net, CLASSES, make_clusters(13), how(batch_size=4))
    assert all((a == b).all() for a, b in zip(before, values_of(net), strict=True))


# Embeddings


def train_embedding(*, is_sparse: bool) -> tuple[list[Floats], dict[str, float]]:
    net = gluon.nn.HybridSequential()
    net.add(gluon.nn.Embedding(9, 3, sparse_grad=is_sparse), gluon.nn.Dense(4, in_units=6))
    mx.random.seed(1)
    net.initialize(ctx=CPU)
    tokens = np.arange(40).reshape(20, 2) % 9
    data = put_data(tokens, np.arange(20) % 4)
    settings = how(epochs=3, batch_size=2, learning_rate=0.1, momentum=0.9)
    means = train(net, CLASSES, data, settings, [0])
    return values_of(net), means


def test_an_embedding_with_sparse_gradients_trains_to_the_same_bits_as_a_dense_one(
    capfd: pytest.CaptureFixture[str],
) -> None:
    dense, dense_means = train_embedding(is_sparse=False)
    sparse, sparse_means = train_embedding(is_sparse=True)
    assert sparse_means == dense_means
    assert all((a == b).all() for a, b in zip(dense, sparse, strict=True))
    # MXNet's warning of a lazy update.
    assert "lazy" not in capfd.readouterr().err
