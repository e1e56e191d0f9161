"""The model's file for MXNet, read by MXNet itself."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import ConfigRecord
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from client import model
from client.mx import gluon, mx
from fedmx import arrays
from fedmx.errors import DataError
from server.layout import Layout
from server.record import mxnet_params, npz
from tests.server.nodes import pack

Values = dict[str, NDArray[Any]]


def make_convolutional() -> gluon.HybridBlock:
    net = gluon.nn.HybridSequential()
    net.add(
        gluon.nn.Conv2D(8, 3, activation="relu"),
        gluon.nn.BatchNorm(),
        gluon.nn.MaxPool2D(),
        gluon.nn.Conv2DTranspose(4, 2),
        gluon.nn.Flatten(),
        gluon.nn.Dense(3),
    )
    return net


def make_recurrent() -> gluon.HybridBlock:
    net = gluon.nn.HybridSequential()
    net.add(gluon.rnn.LSTM(5, num_layers=2, bidirectional=True), gluon.nn.LayerNorm(), gluon.nn.Dense(2))
    return net


def make_dense(dtype: str = "float32") -> gluon.HybridBlock:
    net = gluon.nn.HybridSequential()
    net.add(gluon.nn.Dense(4), gluon.nn.BatchNorm(), gluon.nn.Dense(2))
    net.cast(dtype)
    return net


class Shared(gluon.HybridBlock):  # type: ignore[misc]  # MXNet has no types
    """Two layers with one set of parameters."""

    def __init__(self) -> None:
        super().__init__()
        with self.name_scope():
            self.one = gluon.nn.Dense(6, in_units=6)
            self.other = gluon.nn.Dense(6, in_units=6, params=self.one.params)

    def hybrid_forward(self, _: Any, x: Any) -> Any:
        return self.other(self.one(x).tanh())


MAKERS: dict[str, tuple[Callable[[], gluon.HybridBlock], tuple[int, ...]]] = {
    "convolution": (make_convolutional, (2, 3, 8, 8)),
    "recurrence": (make_recurrent, (4, 2, 3)),
    "shared parameters": (Shared, (2, 6)),
    "one layer": (lambda: gluon.nn.Dense(4), (2, 6)),
    "one recurrent layer": (lambda: gluon.rnn.GRU(4), (3, 2, 6)),
    "double precision": (lambda: make_dense("float64"), (2, 6)),
}


@pytest.mark.parametrize("kind", MAKERS)
def test_a_new_network_that_loads_the_file_gives_the_outputs_of_the_one_that_was_trained(
    kind: str, tmp_path: Path
) -> None:
    make, shape = MAKERS[kind]
    trained = make()
    trained.initialize(mx.init.Normal(0.3))
    dtype = next(iter(trained.collect_params().values())).dtype
    examples = mx.nd.random.normal(shape=shape).astype(dtype)
    with mx.autograd.train_mode():  # moves the running statistics
        trained(examples)
    outputs = trained(examples).asnumpy()
    record = model.read(model.name_parameters(trained))
    mxnet_params.save(record, tmp_path / "model.params")
    npz.save(npz.members_of(record), tmp_path / "model.npz")

    loaded = make()
    loaded.load_parameters(str(tmp_path / "model.params"))
    assert (loaded(examples).asnumpy() == outputs).all()
    set_by_name = make()
    set_by_name.initialize()
    set_by_name(examples)
    with np.load(tmp_path / "model.npz") as file:
        model.write(model.name_parameters(set_by_name), pack(dict(file)))
    assert (set_by_name(examples).asnumpy() == outputs).all()


class Scaled(gluon.HybridBlock):  # type: ignore[misc]  # MXNet has no types
    """Has a parameter without dimensions, which only numpy's semantics know."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = gluon.nn.Dense(2)
        with self.name_scope():
            self.scale = self.params.get("scale", shape=())

    def hybrid_forward(self, _: Any, x: Any, scale: Any) -> Any:
        return self.inner(x) * scale


WEIGHT, BIAS = np.arange(6, dtype=np.float32).reshape(2, 3), np.ones(2, np.float32)


def make_single() -> gluon.HybridBlock:
    net = gluon.nn.HybridSequential()
    net.add(gluon.nn.Dense(2))
    return net


@pytest.mark.parametrize(
    ("make", "values", "outputs"),
    [
        (make_single, {"0.weight": WEIGHT, "0.bias": BIAS}, [[4, 13]]),
        (
            Scaled,
            {"inner.weight": WEIGHT, "inner.bias": BIAS, "scale": np.array(3, np.float32)},
            [[12, 39]],
        ),
    ],
)
def test_a_network_under_numpys_semantics_loads_the_file(
    tmp_path: Path, make: Callable[[], gluon.HybridBlock], values: Values, outputs: list[list[float]]
) -> None:
    mxnet_params.save(pack(values), tmp_path / "model.params")
    with mx.util.np_shape(True), mx.util.np_array(True):
        net = make()
        net.load_parameters(str(tmp_path / "model.params"))
        assert net(mx.np.ones((1, 3))).asnumpy().tolist() == outputs


def test_mxnet_writes_the_same_bytes_for_the_same_arrays(tmp_path: Path) -> None:
    values: Values = {
        "0.weight": np.arange(6, dtype=np.float32).reshape(2, 3),
        "1.running_mean": np.arange(3, dtype=np.float64),
        "größe": np.array([[7]], np.int64),
    }
    mxnet_params.save(pack(values), tmp_path / "ours.params")
    mx.nd.save(
        str(tmp_path / "theirs.params"),
        {name: mx.nd.array(value, dtype=value.dtype) for name, value in values.items()},
    )
    assert (tmp_path / "ours.params").read_bytes() == (tmp_path / "theirs.params").read_bytes()


@settings(max_examples=50, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["0.weight", "1.bias", "running_mean", "arg:x", "ü"]),
        st.sampled_from(sorted(mxnet_params.TYPE_FLAGS)).flatmap(
            lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, max_dims=5, min_side=0))
        ),
        min_size=1,
    )
)
def test_mxnet_reads_back_every_dtype_and_shape(
    tmp_path_factory: pytest.TempPathFactory, values: Values
) -> None:
    path = tmp_path_factory.mktemp("params") / "model.params"
    mxnet_params.save(pack(values), path)
    # Arrays without dimensions or values exist under numpy's semantics alone.
    with mx.util.np_shape(any(not value.size or not value.ndim for value in values.values())):
        loaded = mx.nd.load(str(path))
        assert list(loaded) == list(values)
        for name, value in values.items():
            assert (loaded[name].shape, np.dtype(loaded[name].dtype)) == (value.shape, value.dtype)
            if value.size:
                np.testing.assert_array_equal(loaded[name].asnumpy(), value)


def test_a_network_without_parameters_loads_its_empty_file(tmp_path: Path) -> None:
    mxnet_params.save({}, tmp_path / "model.params")
    gluon.nn.Flatten().load_parameters(str(tmp_path / "model.params"))


def test_mxnet_names_a_model_that_the_file_is_not_of(tmp_path: Path) -> None:
    mxnet_params.save(pack({"0.weight": np.ones((2, 3), np.float32)}), tmp_path / "model.params")
    with pytest.raises(AssertionError, match=r"Parameter '0\.bias' is missing in file"):
        make_dense().load_parameters(str(tmp_path / "model.params"))


@pytest.mark.parametrize("dtype", sorted(arrays.DTYPES - mxnet_params.TYPE_FLAGS.keys()))
def test_a_node_with_a_dtype_that_mxnet_has_not_is_refused_by_arrays_name(dtype: str) -> None:
    heads = [
        json.dumps(["0.weight", "float32", [2], "trained"]),
        json.dumps(["steps", dtype, [1], "running"]),
    ]
    with pytest.raises(ValueError, match=rf"'steps' is {dtype}; .*float32"):
        Layout.from_description(ConfigRecord({"arrays": heads, "metrics": [], "train-metrics": []}))


@pytest.mark.usefixtures("_full_disk")
def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "model.params"
    mxnet_params.save(pack({"w": np.ones(3, np.float32)}), path)
    before = path.read_bytes()
    with pytest.raises(DataError, match=f"^{path}: "):
        mxnet_params.save(pack({"w": np.ones(20_000, np.float32)}), path)
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_bytes() == before
