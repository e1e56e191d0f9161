"""The optimizer of the built-in loop, against steps by hand.

For y = w * x with x = 1, w = 1 and the label 0, the gradient of L2 loss is w.
"""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from client.context import Context
from client.mx import gluon, mx
from client.training import train
from fedmx.errors import SettingsError
from fedmx.hyperparameters import OPTIMIZERS
from tests.client.given.small import (
    CLASSES,
    how,
    make_mlp,
    make_ones,
    make_scale,
    make_task,
    put_data,
    values_of,
)


def weight_after(context: Context, steps: int = 1, **task: Any) -> float:
    net = make_scale()
    train(net, replace(make_task(), **task), make_ones(2 * steps), context, [0])
    return float(values_of(net)[0].item())


def test_the_server_knows_the_optimizers_that_mxnet_has_registered() -> None:
    # MXNet registers one for its own tests.
    assert sorted(OPTIMIZERS) == sorted(mx.optimizer.Optimizer.opt_registry.keys() - {"test"})


def test_weight_decay_and_clipping_are_passed_to_the_optimizer() -> None:
    # The gradient is 1 + 0.5 * 1.
    assert weight_after(how(weight_decay=0.5)) == 1 - 0.5 * 1.5
    assert weight_after(how(clip_gradient=0.25)) == 1 - 0.5 * 0.25


@pytest.mark.parametrize(
    ("context", "expected"),
    [
        # Adam's first step is the learning rate, whatever the gradient.
        (how(optimizer="adam", learning_rate=0.25), 1 - 0.25),
        # NAG: momentum 0.5, so that the first step is (1 + 0.5) * 0.5 * 1.
        (how(optimizer="nag", momentum=0.5), 1 - 1.5 * 0.5),
        # RMSProp: 0.5 / sqrt(0.1 * 1).
        (how(optimizer="rmsprop"), 1 - 0.5 / np.sqrt(0.1)),
        (how(optimizer="rmsprop", optimizer_args={"gamma1": 0.75}), 1 - 0.5 / np.sqrt(0.25)),
        # Signum: the sign of the gradient.
        (how(optimizer="signum"), 1 - 0.5),
        (how(optimizer="adagrad"), 1 - 0.5),
    ],
    ids=["adam", "nag", "rmsprop", "rmsprop-gamma1", "signum", "adagrad"],
)
def test_the_first_step_of_an_optimizer_is_its_own(context: Context, expected: float) -> None:
    assert weight_after(context) == pytest.approx(expected, abs=1e-5)


def test_arguments_take_precedence_over_other_settings() -> None:
    context = how(momentum=0.5, optimizer_args={"momentum": 0.0, "learning_rate": 0.25})
    assert weight_after(context, steps=2) == 0.75 * 0.75


# Adamax divides by the largest gradient so far, which is 0 for an input that is always 0; GroupAdaGrad is for
# embeddings alone.
@pytest.mark.parametrize("name", sorted({*OPTIMIZERS} - {"adamax", "groupadagrad"}))
def test_every_optimizer_trains_the_same_from_the_same_seed(name: str) -> None:
    data = put_data(np.eye(6, dtype=np.float32), np.arange(6) % 4)
    ends = []
    for _ in range(2):
        net = make_mlp()
        before = values_of(net)
        train(net, CLASSES, data, how(2, optimizer=name, learning_rate=0.01), [0])
        ends.append(values_of(net))
        assert any((one != other).any() for one, other in zip(before, ends[-1], strict=True))
    assert all((one == other).all() for one, other in zip(*ends, strict=True))


@pytest.mark.parametrize("args", [{"beta1": "high"}, {"gama": 1}, {"lr_scheduler": 0.5}, {"beta1": 10**400}])
def test_arguments_that_an_optimizer_does_not_take_are_named(args: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match=r"^OPTIMIZER=adam, OPTIMIZER_ARGS=\{") as caught:
        weight_after(how(optimizer="adam", optimizer_args=args))
    assert next(iter(args)) in str(caught.value)


def test_a_model_that_an_optimizer_does_not_support_is_one_line() -> None:
    data = put_data(np.eye(6, dtype=np.float32), np.arange(6) % 4)
    with pytest.raises(SettingsError, match=r"^OPTIMIZER=groupadagrad"):
        train(make_mlp(), CLASSES, data, how(optimizer="groupadagrad"), [0])


def test_a_tasks_own_trainer_is_used_and_knows_the_round() -> None:
    def trainer(net: gluon.Block, context: Context) -> gluon.Trainer:
        rate = context.learning_rate / context.round
        return gluon.Trainer(net.collect_params(), "sgd", {"learning_rate": rate})

    assert weight_after(replace(how(), round=2), trainer=trainer) == 0.75


def test_a_return_value_that_is_not_a_trainer_is_rejected() -> None:
    with pytest.raises(SettingsError, match=r"trainer\(\) returned None; expected a gluon Trainer"):
        weight_after(how(), trainer=lambda *_: None)
