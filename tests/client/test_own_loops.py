"""A task's own train and evaluate: what they are called with, what they may return, and FedProx in them."""

import random
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from client import own_loops
from client.batches import Share
from client.context import Context
from client.data import Dataset
from client.mx import autograd, gluon, mx
from client.task import Task
from fedmx.errors import SettingsError, TrainingFailedError
from tests.client.given.small import CPU, how, make_scale, make_task, values_of


def with_loop(**functions: Any) -> Task:
    return replace(make_task(), **functions)


def make_share(count: int = 4) -> Share:
    ones = np.ones((count, 1), np.float32)
    return Share(Dataset(ones, np.zeros((count, 1), np.float32)), np.arange(count))


def run(function: Any, context: Context | None = None, seed: int = 0) -> dict[str, float]:
    return own_loops.train(
        make_scale(), with_loop(train=function), make_share(), context or how(), [seed, 1, 0]
    )


def test_the_function_gets_the_network_the_share_and_the_context() -> None:
    seen: list[Any] = []

    def train(net: Any, data: Any, context: Context) -> dict[str, float]:
        seen.extend([net, len(data), [part.tolist() for part in data[3]], context.round])
        seen.extend([context.epochs, context.batch_size, context.learning_rate, context.devices])
        seen.append(context.options)
        return {}

    net, context = make_scale(), replace(how(epochs=3, task_options={"width": 7}), round=5)
    own_loops.train(net, with_loop(train=train), make_share(), context, [0, 5, 0])
    assert seen == [net, 4, [[1.0], [0.0]], 5, 3, 2, 0.5, (CPU,), {"width": 7}]


@pytest.mark.parametrize(
    ("returned", "expected"),
    [
        (None, {"num-examples": 4}),
        ({}, {"num-examples": 4}),
        ({"rmse": 0.5}, {"rmse": 0.5, "num-examples": 4}),
        ({"loss": 1, "hits": True}, {"loss": 1.0, "hits": 1.0, "num-examples": 4}),
        ({"rmse": np.float32(0.5)}, {"rmse": 0.5, "num-examples": 4}),
        ({"rmse": np.array([[0.5]])}, {"rmse": 0.5, "num-examples": 4}),
        ({"rmse": mx.nd.array([0.5])}, {"rmse": 0.5, "num-examples": 4}),
        (({"rmse": 0.5}, 9), {"rmse": 0.5, "num-examples": 9}),
        (({"rmse": 0.5}, 9.0), {"rmse": 0.5, "num-examples": 9}),
    ],
)
def test_numbers_of_any_kind_may_be_returned_with_a_weight(returned: Any, expected: dict[str, float]) -> None:
    found = run(lambda *_: returned)
    assert found == expected
    assert type(found["num-examples"]) is int


@pytest.mark.parametrize(
    ("returned", "found"),
    [
        (0, "int"),
        (0.5, "float"),
        ([0.5], "list"),
        (mx.nd.zeros((2,)), "NDArray"),
        ({"rmse": "half"}, "str for rmse"),
        ({"rmse": [1, 2]}, "list for rmse"),
        ({"rmse": [1, [2, 3]]}, "list for rmse"),
        ({"rmse": mx.nd.zeros((2,))}, "NDArray for rmse"),
        ({"num-examples": 4}, "'num-examples'"),
        (({"rmse": 0.5}, 0), "the weight 0"),
        (({"rmse": 0.5}, -1), "the weight -1"),
        (({"rmse": 0.5}, float("nan")), "the weight nan"),
        (({"rmse": 0.5}, None), "None for the weight"),
    ],
)
def test_any_other_return_value_is_rejected_and_named(returned: Any, found: str) -> None:
    task = with_loop(train=lambda *_: returned, evaluate=lambda *_: returned)
    with pytest.raises(SettingsError) as trained:
        own_loops.train(make_scale(), task, make_share(), how(), [0])
    with pytest.raises(SettingsError) as evaluated:
        own_loops.evaluate(make_scale(), task, make_share(), how())
    for name, caught in (("train", trained), ("evaluate", evaluated)):
        line = str(caught.value)
        assert line.startswith(f"TASK=by-hand: {name}() returned ")
        assert found in line
        assert "expected a dict of numbers by name" in line


def test_whitespace_in_a_name_becomes_an_underscore_as_in_names_of_an_estimator() -> None:
    metric = mx.metric.Accuracy(name="training accuracy")
    metric.update(mx.nd.array([1]), mx.nd.array([[0, 1]]))
    found = run(lambda *_: {**dict([metric.get()]), " a\n b": 2.0})
    assert found == {"training_accuracy": 1.0, "a_b": 2.0, "num-examples": 4}


def test_two_names_that_differ_in_whitespace_alone_are_refused() -> None:
    with pytest.raises(SettingsError, match=r"^TASK=by-hand: train\(\) returned two numbers named 'a_b'"):
        run(lambda *_: {"a b": 1.0, "a_b": 2.0})


@pytest.mark.parametrize("name", [3, "", " ", "a,b", "é", "_a", "x" * 65])
def test_a_number_has_a_name_that_a_history_can_have(name: Any) -> None:
    with pytest.raises(SettingsError, match=r"train\(\) returned the name .*at most 64 letters"):
        run(lambda *_: {name: 0.5})


def test_the_weight_of_train_is_an_integer_and_that_of_evaluate_any_positive_number() -> None:
    with pytest.raises(SettingsError, match=r"the weight 2\.5; expected an integer"):
        run(lambda *_: ({}, 2.5))
    task = with_loop(evaluate=lambda *_: ({"miou": 0.25}, 2.5))
    measured = own_loops.evaluate(make_scale(), task, make_share(), how())
    assert measured == {"miou": 0.25, "num-examples": 2.5}


def test_only_the_loss_must_be_finite() -> None:
    with pytest.raises(TrainingFailedError, match="the loss nan"):
        run(lambda *_: {"loss": float("nan")})
    assert np.isnan(run(lambda *_: {"recall": float("nan")})["recall"])


def raise_it(*_: Any) -> Any:
    raise KeyError("columns")


def test_an_exception_is_one_line_with_its_place() -> None:
    line = raise_it.__code__.co_firstlineno + 1
    with pytest.raises(SettingsError) as caught:
        run(raise_it)
    assert str(caught.value) == f"TASK=by-hand: train() raised KeyError: 'columns' (test_own_loops.py:{line})"


def test_an_error_in_a_background_computation_is_attributed_to_the_function() -> None:
    def train(net: Any, data: Any, context: Context) -> None:
        # Returns at once; the engine finds later that the matrix is not positive definite.
        mx.nd.linalg.potrf(mx.nd.array([[-1.0]]))

    with pytest.raises(SettingsError, match=r"train\(\) raised"):
        run(train)


def test_all_generators_are_seeded_for_every_message() -> None:
    def draw(*_: Any) -> dict[str, float]:
        return {
            "python": random.random(),  # noqa: S311 - what tasks draw from
            "numpy": np.random.rand(),  # noqa: NPY002 - what tasks draw from
            "mxnet": float(mx.nd.random.uniform().asscalar()),
        }

    first, again, other = run(draw), run(draw), run(draw, seed=1)
    assert first == again
    assert all(first[name] != other[name] for name in ("python", "numpy", "mxnet"))


# FedProx: for y = w * x with x = 1 and the label 0, a mean loss of w * w / 2, and the global weight 1


def train_with_pull(net: Any, data: Any, context: Context) -> dict[str, float]:
    trainer = gluon.Trainer(net.collect_params(), "sgd", {"learning_rate": context.learning_rate})
    loss = gluon.loss.L2Loss()
    for examples, labels in gluon.data.DataLoader(data, context.batch_size):
        with autograd.record():
            losses = loss(net(examples), labels) + context.pull(net)
        losses.backward()
        trainer.step(len(examples))
    return {}


def train_with_a_mean(net: Any, data: Any, context: Context) -> dict[str, float]:
    trainer = gluon.Trainer(net.collect_params(), "sgd", {"learning_rate": context.learning_rate})
    loss = gluon.loss.L2Loss()
    for examples, labels in gluon.data.DataLoader(data, context.batch_size):
        with autograd.record():
            total = loss(net(examples), labels).mean() + context.pull(net)
        total.backward()
        trainer.step(1)
    return {}


@pytest.mark.parametrize("function", [train_with_pull, train_with_a_mean])
def test_pull_is_the_proximal_term_whether_losses_are_summed_or_averaged(function: Any) -> None:
    net = make_scale()
    own_loops.train(net, with_loop(train=function), make_share(), how(proximal_mu=1.0), [0])
    # Step 1: gradient 1 + 0 -> w = 0.5. Step 2: gradient 0.5 + 1 * (0.5 - 1) = 0.
    assert values_of(net)[0].item() == 0.5


def test_pull_covers_a_parameter_that_the_task_begins_to_train() -> None:
    def train(net: Any, data: Any, context: Context) -> dict[str, float]:
        for parameter in net.collect_params().values():
            parameter.grad_req = "write"
        return train_with_pull(net, data, context)

    net = make_scale()
    net.collect_params().setattr("grad_req", "null")
    own_loops.train(net, with_loop(train=train), make_share(), how(proximal_mu=1.0), [0])
    assert values_of(net)[0].item() == 0.5


def test_pull_is_zero_without_fedprox() -> None:
    net = make_scale()
    own_loops.train(net, with_loop(train=train_with_pull), make_share(), how(), [0])
    assert values_of(net)[0].item() == 0.25


def test_a_training_that_ignores_fedprox_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"^PROXIMAL_MU=0\.1: train\(\) .* never called context\.pull"):
        run(lambda *_: {}, how(proximal_mu=0.1))


def test_an_evaluation_may_call_pull_as_well() -> None:
    task = with_loop(evaluate=lambda net, _, context: {"pull": context.pull(net)})
    measured = own_loops.evaluate(make_scale(), task, make_share(), how(proximal_mu=0.1))
    assert measured["pull"] == 0
