"""Files of pretrained weights: which arrays of which kinds of files fit a network with other classes."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from client import model
from client.model_zoo import build_network, find_weights, load_weights
from client.mx import gluon, mx
from fedmx.errors import DataError, SettingsError

NAME = "mobilenet0.25"
OUTPUT = {"output.weight", "output.bias"}


@pytest.fixture(scope="module")
def pretrained() -> gluon.HybridBlock:
    """A network with five classes, all of whose arrays have random values."""
    net = build_network(NAME, 5)
    net.initialize(mx.init.Xavier())
    net(mx.nd.zeros((1, 3, 32, 32)))
    for parameter in net.collect_params().values():
        parameter.set_data(mx.nd.random.uniform(shape=parameter.shape))
    return net


def find_equal(net: gluon.Block, other: gluon.Block) -> set[str]:
    """Return the names of the arrays that two networks have in common, values and all."""
    others = model.name_parameters(other)
    return {
        name
        for name, parameter in model.name_parameters(net).items()
        if parameter._data is not None
        and parameter.shape == others[name].shape
        and (parameter.data().asnumpy() == others[name].data().asnumpy()).all()
    }


Save = Callable[[gluon.HybridBlock, str], object]


@pytest.mark.parametrize(
    "save",
    [
        lambda net, path: net.save_parameters(path),
        lambda net, path: net.features.save_parameters(path),
        # As MXNet did before 1.3, with the names of the layers.
        lambda net, path: net.collect_params().save(path, strip_prefix=net.prefix),
        lambda net, path: mx.nd.save(
            path, {f"arg:{name}": p.data() for name, p in model.name_parameters(net).items()}
        ),
    ],
    ids=["network", "features", "old", "prefixed"],
)
def test_all_but_the_last_layer_is_loaded_from_a_file_of_any_origin(
    tmp_path: Path, pretrained: gluon.HybridBlock, save: Save
) -> None:
    path = tmp_path / "backbone.params"
    save(pretrained, str(path))
    net = build_network(NAME, 3)
    load_weights(net, path)
    assert find_equal(net, pretrained) == model.name_parameters(net).keys() - OUTPUT
    assert [p._data for name, p in model.name_parameters(net).items() if name in OUTPUT] == [None, None]


def test_a_last_layer_of_the_same_shape_is_loaded_as_well(
    tmp_path: Path, pretrained: gluon.HybridBlock
) -> None:
    pretrained.save_parameters(str(tmp_path / "whole.params"))
    net = build_network(NAME, 5)
    load_weights(net, tmp_path / "whole.params")
    assert find_equal(net, pretrained) == model.name_parameters(net).keys()


def test_new_layers_may_have_any_names(tmp_path: Path) -> None:
    body, net = gluon.nn.HybridSequential(), gluon.nn.HybridSequential()
    for layers in (body, net):
        layers.add(gluon.nn.Dense(3, in_units=2), gluon.nn.Dense(4 if layers is body else 5, in_units=3))
    body.initialize()
    body.save_parameters(str(tmp_path / "body.params"))
    with pytest.raises(DataError, match=r"other shapes for 1\.bias, 1\.weight;"):
        load_weights(net, tmp_path / "body.params")
    load_weights(net, tmp_path / "body.params", new=["1.*"])
    assert (net[0].weight.data().asnumpy() == body[0].weight.data().asnumpy()).all()


def test_float16_weights_become_float32(tmp_path: Path) -> None:
    mx.nd.save(str(tmp_path / "half.params"), {"weight": mx.nd.ones((2, 3), dtype="float16")})
    net = gluon.nn.Dense(2, use_bias=False)
    load_weights(net, tmp_path / "half.params")
    assert net.weight.data().dtype == np.float32


Spoil = Callable[[dict[str, mx.nd.NDArray]], object]


@pytest.mark.parametrize(
    ("spoil", "part"),
    [
        (lambda arrays: arrays.pop("features.0.weight"), "has no arrays features.0.weight"),
        (
            lambda arrays: arrays.update({"features.0.weight": mx.nd.zeros((2, 2))}),
            "other shapes for features.0",
        ),
        (lambda arrays: arrays.update(extra=mx.nd.zeros(2)), "that the network does not have: extra"),
    ],
)
def test_a_file_of_another_network_is_one_line_that_names_arrays(
    tmp_path: Path, pretrained: gluon.HybridBlock, spoil: Spoil, part: str
) -> None:
    path = tmp_path / "other.params"
    arrays = {name: parameter.data() for name, parameter in model.name_parameters(pretrained).items()}
    spoil(arrays)
    mx.nd.save(str(path), arrays)
    with pytest.raises(DataError) as caught:
        load_weights(build_network(NAME, 3), path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert part in message
    assert "\n" not in message


def test_a_file_that_is_damaged_or_missing_is_one_line(tmp_path: Path, pretrained: gluon.HybridBlock) -> None:
    path = tmp_path / "cut.params"
    pretrained.save_parameters(str(path))
    whole = path.read_bytes()
    for content in (b"", b"hello", whole[: len(whole) // 2], whole[:-3]):
        path.write_bytes(content)
        with pytest.raises(DataError, match=rf"^{path}: not a whole file"):
            load_weights(build_network(NAME, 3), path)
    with pytest.raises(DataError, match=r"gone\.params: not found"):
        load_weights(build_network(NAME, 3), tmp_path / "gone.params")


def test_a_server_cannot_name_a_file_outside_of_the_data_folder(tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "secret").write_text("")
    for name in ("../secret", str(tmp_path / "secret"), "sub/w.params"):
        with pytest.raises(SettingsError, match=r"^TASK_OPTIONS: weights="):
            find_weights(tmp_path / "site", name)
    assert find_weights(tmp_path / "site", "w.params") == tmp_path / "site" / "w.params"


def test_an_unknown_network_is_one_line() -> None:
    with pytest.raises(SettingsError, match=r"network='resnet17'.*mobilenet0\.25") as caught:
        build_network("resnet17", 3)
    assert "\n" not in str(caught.value)
