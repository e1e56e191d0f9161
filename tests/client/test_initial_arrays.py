"""The arrays that a run starts from: drawn from its seed, or set by `build_model()`."""

import tempfile
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pytest

from client import model
from client.mx import gluon, mx
from fedmx import arrays
from tests.client.given.networks import SAMPLE, build, make, start, values_by_name
from tests.client.given.small import inputs_of


class Unordered(gluon.HybridBlock):  # type: ignore[misc]  # MXNet has no types
    """Runs its layers in another order than that of their names."""

    def __init__(self) -> None:
        super().__init__()
        self.last = gluon.nn.Dense(2)
        self.first = gluon.nn.Dense(3)

    def hybrid_forward(self, F: Any, x: Any) -> Any:  # noqa: ARG002, N803 - MXNet's name
        return self.last(self.first(x))


def test_initial_arrays_depend_on_the_seed_not_on_earlier_draws() -> None:
    _, one = make(5)
    mx.nd.random.uniform(shape=(3,))
    np.random.default_rng().random()
    net, two = make(6)
    digest = arrays.sha256(model.read(one))
    assert arrays.sha256(model.read(two)) != digest
    model.initialize(net, 5, inputs_of(SAMPLE))
    assert arrays.sha256(model.read(two)) == digest


def test_a_seed_may_be_of_any_size() -> None:
    digests = [arrays.sha256(model.read(make(seed)[1])) for seed in (10**17, 10**17, 10**17 + 1)]
    assert digests[0] == digests[1] != digests[2]


def test_a_network_that_was_initialized_before_draws_what_a_new_one_does() -> None:
    digests = []
    net = Unordered()
    for _ in range(2):
        model.initialize(net, 5, inputs_of(SAMPLE))
        digests.append(arrays.sha256(model.read(model.name_parameters(net))))
    assert digests[0] == digests[1]


def test_initializers_that_draw_with_numpy_follow_the_seed() -> None:
    digests = []
    for seed in (1, 1, 2):
        net = gluon.nn.Dense(3, weight_initializer=_DrawnWithNumpy())
        model.initialize(net, seed, inputs_of(SAMPLE))
        digests.append(arrays.sha256(model.read(model.name_parameters(net))))
    assert digests[0] == digests[1] != digests[2]


class _DrawnWithNumpy(mx.init.Initializer):  # type: ignore[misc]  # MXNet has no types
    def _init_weight(self, _: str, array: mx.nd.NDArray) -> None:
        array[:] = np.random.uniform(size=array.shape)  # noqa: NPY002


# Initial arrays that build_model() sets

Build = Callable[[], gluon.Block]


def fill_in(parameters: Iterable[gluon.Parameter]) -> None:
    """Set parameters to values that no initializer draws, as loading a file does."""
    for number, parameter in enumerate(parameters):
        parameter.set_data(mx.nd.arange(np.prod(parameter.shape)).reshape(parameter.shape) / 8 + number)


def build_filled() -> gluon.HybridBlock:
    net = build()
    net.initialize()
    # Has oneDNN reorder the weight of the convolution.
    net(mx.nd.array(SAMPLE))
    fill_in(net.collect_params().values())
    return net


def build_from_file() -> gluon.Block:
    net = build()
    with tempfile.TemporaryDirectory() as folder:
        build_filled().save_parameters(f"{folder}/net.params")
        net.load_parameters(f"{folder}/net.params")
    return net


def build_from_symbol() -> gluon.Block:
    net = build_filled()
    net.hybridize()
    net(mx.nd.array(SAMPLE))
    with tempfile.TemporaryDirectory() as folder:
        net.export(f"{folder}/net")
        return gluon.SymbolBlock.imports(f"{folder}/net-symbol.json", ["data"], f"{folder}/net-0000.params")


def build_before_shapes_are_known() -> gluon.Block:
    net, filled = build(), build_filled()
    net.initialize()
    for mine, given in zip(net.collect_params().values(), filled.collect_params().values(), strict=True):
        mine.set_data(given.data())
    return net


@pytest.mark.filterwarnings("ignore:Cannot decide type")
@pytest.mark.parametrize(
    "build_model", [build_filled, build_from_file, build_from_symbol, build_before_shapes_are_known]
)
def test_a_run_starts_from_the_arrays_that_a_task_loads(build_model: Build) -> None:
    expected = [array.numpy() for array in model.read(model.name_parameters(build_filled())).values()]
    for arrays_of_seed in start(build_model(), seeds=(1, 2)):
        assert len(arrays_of_seed) == len(expected)
        for found in arrays_of_seed.values():
            assert any(found.shape == wanted.shape and (found == wanted).all() for wanted in expected)


@pytest.mark.parametrize("frozen", [False, True])
def test_a_new_head_is_drawn_from_the_seed_and_loaded_layers_keep_their_values(*, frozen: bool) -> None:
    net = gluon.nn.HybridSequential()
    loaded = build_filled()
    if frozen:
        loaded.collect_params().setattr("grad_req", "null")
    net.add(loaded, gluon.nn.Dense(2), gluon.nn.Dense(2, weight_initializer=mx.init.One()))
    one, same, other = start(net, seeds=(1, 1, 2))
    for name in one:
        assert (one[name] == same[name]).all()
        if name.startswith("0."):
            assert (one[name] == other[name]).all()
    trained = values_by_name(net)
    kept = {name for name in trained if (trained[name] == one[name]).all()}
    assert ({"0.0.weight", "0.3.weight", "0.1.gamma"} <= kept) == frozen
    assert (one["1.weight"] != other["1.weight"]).all()
    assert (one["2.weight"] == 1).all()
    assert (one["1.bias"] == 0).all()


def test_an_initializer_of_the_task_draws_arrays_of_unknown_shape() -> None:
    net = build()
    net.initialize(mx.init.Constant(0.25))
    net[3].initialize(mx.init.Normal(100), force_reinit=True)
    one, other = start(net, seeds=(1, 2))
    assert (one["0.weight"] == 0.25).all()
    assert np.abs(one["3.weight"]).max() > 50
    assert (one["3.weight"] != other["3.weight"]).all()
    assert (one["0.bias"] == 0).all()


def test_a_vector_without_an_initializer_is_drawn_from_the_seed() -> None:
    net = gluon.Block()
    net.scale = net.params.get("scale", shape=(5,))
    drawn = []
    for seed in (1, 1, 2):
        model.initialize(net, seed, ())
        drawn.append(values_by_name(net)["scale"])
    assert 0 < np.abs(drawn[0]).max() <= 0.07
    assert (drawn[0] == drawn[1]).all()
    assert (drawn[0] != drawn[2]).all()


@pytest.mark.filterwarnings("ignore:Cannot decide type")
def test_a_symbol_s_vectors_are_set_by_the_end_of_their_names() -> None:
    layer = mx.sym.FullyConnected(mx.sym.Variable("data"), num_hidden=4, name="layer")
    net = gluon.SymbolBlock(mx.sym.BatchNorm(layer, name="norm", fix_gamma=False), mx.sym.Variable("data"))
    model.initialize(net, 1, (mx.nd.ones((2, 3)),))
    drawn = values_by_name(net)
    assert np.abs(drawn.pop("layer_weight")).max() > 0
    assert {name: values.tolist() for name, values in drawn.items()} == {
        "layer_bias": [0] * 4,
        "norm_gamma": [1] * 4,
        "norm_beta": [0] * 4,
        "norm_moving_mean": [0] * 4,
        "norm_moving_var": [1] * 4,
    }
