"""A task's network: frozen parameters, and which arrays travel."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from client import model
from client.batches import Batch
from client.mx import autograd, gluon, mx
from client.network import Network
from client.task import Task
from fedmx import arrays
from fedmx.errors import SettingsError
from tests.client.given.small import CPU, measure_nothing

SAMPLE = Batch((mx.nd.ones((2, 3, 4, 4)),), mx.nd.zeros((2,)))


def build() -> gluon.HybridBlock:
    net = gluon.nn.HybridSequential()
    body = gluon.nn.HybridSequential()
    body.add(gluon.nn.Conv2D(2, 3, in_channels=3), gluon.nn.BatchNorm(in_channels=2))
    net.add(body, gluon.nn.Dense(2))
    return net


def build_pretrained() -> gluon.HybridBlock:
    net = build()
    mx.random.seed(9)
    net[0].initialize(mx.init.Normal(0.5))
    return net


def refuse(*_: Any) -> Any:
    raise AssertionError


def make(
    *frozen: str, builder: Callable[[], gluon.Block] = build_pretrained, sample: Batch = SAMPLE, **own: Any
) -> Network:
    loss = gluon.loss.SoftmaxCrossEntropyLoss()
    return Network(
        Task("small", builder, refuse, loss, measure_nothing, frozen=frozen, **own), lambda: sample
    )


def step(network: Network) -> None:
    """Train one step by SGD with weight decay."""
    parameters = network.net.collect_params()
    trainer = gluon.Trainer(parameters, "sgd", {"learning_rate": 0.5, "wd": 0.1})
    with autograd.record():
        losses = gluon.loss.L2Loss()(network.net(SAMPLE.inputs[0]), mx.nd.ones((2, 2)))
    losses.backward()
    trainer.step(2)


BODY = ["0.0.weight", "0.0.bias", "0.1.gamma", "0.1.beta", "0.1.running_mean", "0.1.running_var"]


def test_patterns_freeze_weights_and_running_statistics_of_matching_names() -> None:
    assert make("0.*").frozen == frozenset(BODY)
    assert make("*.bias", "*.gamma").frozen == {"0.0.bias", "1.bias", "0.1.gamma"}
    assert make().frozen == frozenset()


def test_a_step_does_not_change_frozen_arrays_and_updates_do_not_contain_them() -> None:
    network = make("0.*")
    before = model.read(network.parameters)
    step(network)
    after = model.read(network.parameters)
    changed = {name for name in before if (arrays.view(before[name]) != arrays.view(after[name])).any()}
    assert changed == {"1.weight", "1.bias"}
    assert list(network.read_trained()) == ["1.weight", "1.bias"]


def test_a_frozen_batch_normalization_uses_its_own_statistics_in_training() -> None:
    network = make("0.*")
    body = network.net[0]
    with autograd.record():
        trained = body(SAMPLE.inputs[0])
    assert (trained.asnumpy() == body(SAMPLE.inputs[0]).asnumpy()).all()
    free = make().net[0]
    with autograd.record():
        trained = free(SAMPLE.inputs[0])
    assert (trained.asnumpy() != free(SAMPLE.inputs[0]).asnumpy()).any()


def test_frozen_arrays_that_a_message_leaves_out_get_their_initial_values() -> None:
    network = make("0.*")
    initial = network.initial_arrays(4)
    for name in BODY:
        network.parameters[name].data()[:] = 7
    network.write({name: initial[name] for name in ("1.weight", "1.bias")})
    assert arrays.sha256(model.read(network.parameters)) == arrays.sha256(initial)


def test_frozen_arrays_that_a_message_has_are_used_and_others_may_not_be_missing() -> None:
    network = make("0.*")
    initial = network.initial_arrays(4)
    sevens = {name: arrays.pack(np.full_like(arrays.view(initial[name]), 7)) for name in BODY}
    network.write({**initial, **sevens})
    assert (network.parameters["0.0.weight"].data().asnumpy() == 7).all()
    with pytest.raises(ValueError, match=r"arrays missing: 1\.bias"):
        network.write({"1.weight": initial["1.weight"]})


def test_frozen_arrays_have_a_digest_only_if_none_depends_on_the_seed() -> None:
    network = make("0.*")
    frozen = {name: array for name, array in network.initial_arrays(4).items() if name in BODY}
    assert network.frozen_sha256 == arrays.sha256(frozen) == make("0.*").frozen_sha256
    assert make("0.*", builder=build).frozen_sha256 == ""


def test_a_pattern_without_a_match_is_named() -> None:
    with pytest.raises(SettingsError, match=r"^TASK=small: FROZEN: no parameter matches 'features\.\*'"):
        make("0.*", "features.*")


def test_a_network_in_which_everything_is_frozen_is_refused() -> None:
    with pytest.raises(SettingsError, match="none of which is trained"):
        make("*")


class Pair(gluon.Block):  # type: ignore[misc] # MXNet has no types
    """Two networks that are never called together."""

    def __init__(self) -> None:
        super().__init__()
        self.generator = gluon.nn.Dense(3, in_units=2)
        self.discriminator = gluon.nn.Dense(1, in_units=3)


def test_a_block_without_forward_is_enough_for_a_task_with_its_own_loop() -> None:
    network = make(builder=Pair, train=refuse)
    assert list(network.initial_arrays(0)) == [
        "generator.weight",
        "generator.bias",
        "discriminator.weight",
        "discriminator.bias",
    ]
    with pytest.raises(SettingsError, match="NotImplementedError"):
        make(builder=Pair)


def test_arrays_are_on_all_devices_and_the_first_ones_are_sent() -> None:
    network = make()
    initial = network.initial_arrays(0)
    network.place([mx.cpu(1), mx.cpu(2)])
    network.write(initial)
    for parameter in network.parameters.values():
        one, other = parameter.list_data()
        assert (one.asnumpy() == other.asnumpy()).all()
    assert arrays.sha256(network.read_trained()) == arrays.sha256(initial)
    network.place([])
    assert network.parameters["1.weight"].list_ctx() == [mx.cpu(1), mx.cpu(2)]
    network.place([CPU])
    assert network.parameters["1.weight"].list_ctx() == [CPU]


def build_sparse() -> gluon.Block:
    net = gluon.nn.Sequential()
    net.add(gluon.contrib.nn.SparseEmbedding(5, 2), gluon.nn.Dense(2))
    return net


@pytest.mark.parametrize("own", [{}, {"train": refuse, "evaluate": refuse}])
def test_sparse_weights_are_refused_before_an_example_reaches_them(own: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match=r"^TASK=small: parameters sparse\w+ are .*sparse_grad=True"):
        make(builder=build_sparse, **own)


def read_nothing() -> Batch:
    raise AssertionError


def test_no_example_is_read_for_a_network_of_known_shapes_that_its_task_trains_itself() -> None:
    def build_known() -> gluon.HybridBlock:
        return gluon.nn.Dense(2, in_units=3)

    task = Task("small", build_known, refuse, gluon.loss.L2Loss(), measure_nothing, train=refuse)
    assert Network(task, read_nothing).initial_arrays(0)["weight"].shape == (2, 3)


def test_an_example_that_cannot_infer_a_shape_is_reported_with_the_reason_for_reading_it() -> None:
    with pytest.raises(SettingsError, match=r"float32 \(2, 5\) to infer shapes that build_model\(\) left"):
        make(sample=Batch((mx.nd.ones((2, 5)),), mx.nd.zeros((2,))), train=refuse)


class Generator(gluon.Block):  # type: ignore[misc] # MXNet has no types
    """A network of an unknown shape that its examples do not go into."""

    def __init__(self, *, is_called: bool) -> None:
        super().__init__()
        self.layer = gluon.nn.Dense(3)
        if is_called:
            self.initialize()
            self.layer(mx.nd.ones((1, 4)))


@pytest.mark.parametrize("sample", [lambda: SAMPLE, read_nothing])
def test_the_solution_is_named_if_no_example_can_infer_a_shape(sample: Callable[[], Batch]) -> None:
    def load(*, is_called: bool) -> Network:
        def build_generator() -> gluon.Block:
            return Generator(is_called=is_called)

        task = Task("small", build_generator, refuse, gluon.loss.L2Loss(), measure_nothing, train=refuse)
        return Network(task, sample)

    with pytest.raises(SettingsError, match=r"in_units, .* in build_model\(\), or .* called there"):
        load(is_called=False)
    assert load(is_called=True).initial_arrays(0)["layer.weight"].shape == (3, 4)


def test_the_solution_for_own_loops_is_not_named_to_a_task_without_them() -> None:
    with pytest.raises(SettingsError, match="NotImplementedError") as caught:
        make(builder=Pair)
    assert "in_units" not in str(caught.value)
