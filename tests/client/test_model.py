"""Parameters as named arrays: every parameter, with a name of its own, read and written exactly."""

import json
from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord
from numpy.typing import NDArray

from client import model
from client.mx import autograd, gluon, mx
from fedmx import arrays
from tests.client.given.networks import SAMPLE, make, start, values_by_name
from tests.client.given.small import CPU

NAMES = [
    "0.weight", "0.bias", "1.gamma", "1.beta", "1.running_mean", "1.running_var", "3.weight", "3.bias",
]  # fmt: skip


def outputs_of(net: gluon.HybridBlock) -> NDArray[np.float32]:
    outputs: NDArray[np.float32] = net(mx.nd.array(SAMPLE)).asnumpy()
    return outputs


def fill(record: ArrayRecord, value: float) -> ArrayRecord:
    return ArrayRecord({name: Array(np.full_like(array.numpy(), value)) for name, array in record.items()})


class TwoUses(gluon.HybridBlock):  # type: ignore[misc]  # MXNet has no types
    """Uses one layer twice, and its weight in a third layer."""

    def __init__(self) -> None:
        super().__init__()
        self.first = gluon.nn.Dense(3, in_units=3)
        self.again = self.first
        self.tied = gluon.nn.Dense(3, in_units=3, use_bias=False, params=self.first.params)

    def hybrid_forward(self, F: Any, x: Any) -> Any:  # noqa: ARG002, N803 - MXNet's name
        return self.tied(self.again(self.first(x)))


class Hidden(gluon.HybridBlock):  # type: ignore[misc]  # MXNet has no types
    """Has a parameter that is not an attribute."""

    def __init__(self) -> None:
        super().__init__()
        self.kept = [self.params.get("scale", shape=(1,))]

    def hybrid_forward(self, F: Any, x: Any) -> Any:  # noqa: ARG002, N803 - MXNet's name
        return x


# Names


def test_names_are_structural_in_network_order_and_the_same_for_every_network_of_a_process() -> None:
    for _ in range(3):
        net, parameters = make()
        assert list(parameters) == NAMES
        assert set(parameters.values()) == set(net.collect_params().values())


def test_a_shared_parameter_appears_once_by_its_first_name() -> None:
    assert list(model.name_parameters(TwoUses())) == ["first.weight", "first.bias"]


def test_a_parameter_without_a_structural_name_is_found() -> None:
    (name,) = model.find_unnamed(Hidden())
    assert name.endswith("_scale")
    assert model.find_unnamed(TwoUses()) == []


def test_the_description_has_name_dtype_shape_and_whether_each_array_is_trained() -> None:
    _, parameters = make()
    parameters["3.bias"].grad_req = "null"
    described = [json.loads(line) for line in model.describe(parameters)]
    assert described == [
        ["0.weight", "float32", [3, 1, 3, 3], "trained"],
        ["0.bias", "float32", [3], "trained"],
        ["1.gamma", "float32", [3], "trained"],
        ["1.beta", "float32", [3], "trained"],
        ["1.running_mean", "float32", [3], "running"],
        ["1.running_var", "float32", [3], "running"],
        ["3.weight", "float32", [4, 48], "trained"],
        ["3.bias", "float32", [4], "running"],
    ]


def test_counters_are_not_trained() -> None:
    counter = gluon.Parameter("counter", shape=(1,), dtype="int64")
    assert not model.is_trained(counter)


# Reading and writing


def test_all_parameters_are_read_in_order() -> None:
    _, parameters = make()
    record = model.read(parameters)
    assert list(record) == NAMES
    for name, array in record.items():
        assert (array.numpy() == parameters[name].data().asnumpy()).all()


@pytest.mark.parametrize("hybridized", [True, False])
def test_zeros_in_all_arrays_are_read_back_and_compute_zeros(*, hybridized: bool) -> None:
    net, parameters = make(hybridized=hybridized)
    with autograd.record():
        net(mx.nd.array(SAMPLE))
    # Runs the cached graph before the write.
    assert outputs_of(net).any()
    zeros = fill(model.read(parameters), 0)
    model.write(parameters, zeros)
    for parameter in net.collect_params().values():
        assert not parameter.data().asnumpy().any()
    assert (outputs_of(net) == 0).all()


def test_a_network_computes_the_same_as_another_whose_arrays_were_written_to_it() -> None:
    (one, of_one), (two, of_two) = make(1), make(2)
    before = outputs_of(one)
    assert (before != outputs_of(two)).any()
    model.write(of_two, model.read(of_one))
    assert (outputs_of(two) == before).all()


def test_what_is_written_is_read_bit_for_bit() -> None:
    _, parameters = make()
    rng = np.random.default_rng(4)
    odd = [np.nan, np.inf, -0.0, np.float32(1e-45)]
    record = ArrayRecord()
    for name, parameter in parameters.items():
        values = rng.standard_normal(parameter.shape).astype(np.float32)
        values.flat[:3] = odd[:3]
        values.flat[-1] = odd[3]
        record[name] = Array(values)
    model.write(parameters, record)
    back = model.read(parameters)
    assert [array.data for array in back.values()] == [array.data for array in record.values()]
    assert arrays.sha256(back) == arrays.sha256(record)


def test_other_dtypes_are_read_as_they_were_written() -> None:
    half = gluon.nn.Dense(2, in_units=3, dtype="float16")
    half.initialize(ctx=CPU)
    parameters = model.name_parameters(half)
    ones = fill(model.read(parameters), 1)
    assert {array.dtype for array in ones.values()} == {"float16"}
    model.write(parameters, ones)
    assert arrays.sha256(model.read(parameters)) == arrays.sha256(ones)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int32", "int64", "float16", "float64"])
def test_every_dtype_of_mxnet_is_read_as_it_was_written(dtype: str) -> None:
    parameter = gluon.Parameter("any", shape=(2, 3), dtype=dtype, grad_req="null", init=mx.init.Zero())
    parameter.initialize(ctx=CPU)
    values = np.array([[0, 1, 2], [3, 100, 127]], dtype)
    model.write({"any": parameter}, {"any": arrays.pack(values)})
    back = model.read({"any": parameter})["any"].numpy()
    assert back.dtype == dtype
    assert (back == values).all()


def test_the_order_of_a_record_does_not_matter() -> None:
    _, parameters = make()
    record = model.read(parameters)
    model.write(parameters, {name: record[name] for name in reversed(NAMES)})
    assert arrays.sha256(model.read(parameters)) == arrays.sha256(record)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"0.bias": None}, "arrays missing: 0.bias; expected exactly the model's 8"),
        (
            {"0.bias": None, "0.weight": None, "spam": np.zeros(1)},
            "arrays missing: 0.bias, 0.weight; expected exactly the model's 8",
        ),
        ({"spam": np.zeros(1)}, "arrays unknown: spam; expected exactly the model's 8"),
        ({"0.bias": np.zeros(1, np.float32)}, "array '0.bias' is float32 (1,); expected float32 (3,)"),
        ({"0.bias": np.zeros((1, 3), np.float32)}, "array '0.bias' is float32 (1, 3); expected float32 (3,)"),
        ({"0.bias": np.zeros(3)}, "array '0.bias' is float64 (3,); expected float32 (3,)"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(changes: dict[str, NDArray[Any] | None], message: str) -> None:
    _, parameters = make()
    record = dict(model.read(parameters)) | {k: v if v is None else Array(v) for k, v in changes.items()}
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the message is compared as a whole
        model.write(parameters, {name: array for name, array in record.items() if array is not None})
    assert str(caught.value) == message


@pytest.mark.filterwarnings("ignore:All children of this Sequential")
def test_a_block_that_is_not_hybrid_trains_to_the_same_model() -> None:
    ends = []
    for kind in (gluon.nn.HybridSequential, gluon.nn.Sequential):
        net = kind()
        net.add(gluon.nn.Conv2D(8, 3), gluon.nn.BatchNorm(), gluon.nn.Dense(2))
        ends.append([*start(net, seeds=(3, 3)), values_by_name(net)])
    for hybrid, plain in zip(*ends, strict=True):
        assert hybrid.keys() == plain.keys()
        for name in hybrid:
            np.testing.assert_allclose(hybrid[name], plain[name], rtol=1e-5, atol=1e-6)
