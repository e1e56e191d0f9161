"""Rounds with every kind of layer: the network computes with exactly the arrays that were written to it.

oneDNN puts weights into an order of its own, which depends on the layer, its channels and whether gradients
are computed, so that a test of one kind of layer proves nothing about another.
"""

from typing import Any

import numpy as np
import pytest
from flwr.app import ArrayRecord
from numpy.typing import NDArray

from client import model
from client.mx import gluon, mx
from client.training import evaluate, train
from fedmx import arrays
from tests.client.given.layers import KINDS, SINGLE, TRAINED_SINGLE, WORDS, Cast, stack
from tests.client.given.small import CLASSES, CPU, how, inputs_of, put_data

nn, rnn, contrib = gluon.nn, gluon.rnn, gluon.contrib

Values = dict[str, NDArray[Any]]
ROWS, CLASS_COUNT = 5, 3


def build(kind: str, dtype: str) -> gluon.HybridBlock:
    layers, _ = KINDS[kind]
    return Cast(stack(layers(), nn.Dense(CLASS_COUNT)), dtype)


def draw_examples(kind: str) -> NDArray[np.float32]:
    _, shape = KINDS[kind]
    rng = np.random.default_rng(1)
    values = rng.integers(4, size=(ROWS, *shape)) if shape is WORDS else rng.standard_normal((ROWS, *shape))
    return values.astype(np.float32)


def draw_values(parameters: model.Parameters, seed: int) -> Values:
    """Draw values that keep outputs near 1; arrays that are neither trained nor statistics stay."""
    rng = np.random.default_rng(seed)
    values = {}
    for name, parameter in parameters.items():
        shape, before = parameter.shape, parameter.data().asnumpy()
        if name.endswith("running_var"):
            drawn = rng.uniform(0.5, 2, shape)
        elif parameter.grad_req == "null" and not name.endswith("running_mean"):
            drawn = before
        else:
            drawn = rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:], dtype=int))
        values[name] = drawn.astype(before.dtype)
    return values


def compute(kind: str, values: Values) -> NDArray[np.float32]:
    """Compute outputs with a new network, in double precision if MXNet has it, which oneDNN does not."""
    dtype = "float32" if kind in SINGLE else "float64"
    net, examples = build(kind, dtype), draw_examples(kind)
    net.initialize(ctx=CPU)
    for name, parameter in model.name_parameters(net).items():
        parameter.shape = values[name].shape
        parameter._load_init(mx.nd.array(values[name], dtype=dtype), CPU)
    outputs: NDArray[np.float32] = net(mx.nd.array(examples)).asnumpy()
    return outputs


def pack(values: Values) -> ArrayRecord:
    return ArrayRecord({name: arrays.pack(array) for name, array in values.items()})


def bytes_of(record: ArrayRecord) -> dict[str, bytes]:
    return {name: array.data for name, array in record.items()}


class Node:
    """A network of one kind, with the steps of a round."""

    def __init__(self, kind: str, dtype: str, *, hybridized: bool) -> None:
        self.kind = kind
        self.examples = draw_examples(kind)
        self.net = build(kind, dtype)
        model.initialize(self.net, 0, inputs_of(self.examples))
        if hybridized:
            self.net.hybridize(static_alloc=True, static_shape=True)
        self.parameters = model.name_parameters(self.net)
        self.device = CPU

    def train_and_evaluate(self) -> None:
        data = put_data(self.examples, np.arange(ROWS) % CLASS_COUNT, self.device)
        before = bytes_of(model.read(self.parameters))
        train(self.net, CLASSES, data, how(batch_size=3, learning_rate=0.01, proximal_mu=0.1), [1])
        evaluate(self.net, CLASSES, data, how(batch_size=3))
        after = bytes_of(model.read(self.parameters))
        trained = [name for name, parameter in self.parameters.items() if model.is_trained(parameter)]
        assert any(after[name] != before[name] for name in trained)

    def check(self, values: Values, dtype: str) -> None:
        """Compare the arrays that are read and the outputs with what was written."""
        outputs = [self.net(mx.nd.array(self.examples, ctx=self.device)).asnumpy() for _ in range(2)]
        assert bytes_of(model.read(self.parameters)) == bytes_of(pack(values))
        expected = compute(self.kind, values)
        tolerance = {"float32": 1e-4, "float64": 1e-6}[dtype]
        np.testing.assert_allclose(
            outputs[0], expected, rtol=tolerance, atol=tolerance * np.abs(expected).max()
        )
        np.testing.assert_array_equal(outputs[0], outputs[1])


class Scale(gluon.HybridBlock):  # type: ignore[misc]  # MXNet has no types
    """Multiplies each feature by a number: MXNet has no matrix product in half precision on a CPU."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = self.params.get("weight", shape=(1, CLASS_COUNT), init=mx.init.One())

    def hybrid_forward(self, F: Any, x: Any, weight: Any) -> Any:  # noqa: N803 - MXNet's name
        return F.broadcast_mul(x, weight)


WAYS = [
    ("float32", True, ()),
    # Rarer: only tasks with loops of their own train networks that are not hybridized.
    ("float32", False, [pytest.mark.slow]),
    ("float64", True, [pytest.mark.slow]),
]


@pytest.mark.parametrize(
    ("kind", "dtype", "hybridized"),
    [
        pytest.param(kind, dtype, hybridized, marks=marks)
        for kind in KINDS
        for dtype, hybridized, marks in WAYS
        if kind not in TRAINED_SINGLE or dtype == "float32"
    ],
)
def test_every_round_computes_with_what_was_written(kind: str, dtype: str, *, hybridized: bool) -> None:
    node = Node(kind, dtype, hybridized=hybridized)
    for number in (1, 2):
        node.train_and_evaluate()
        values = draw_values(node.parameters, number)
        model.write(node.parameters, pack(values))
        assert bytes_of(model.read(node.parameters)) == bytes_of(pack(values))
        node.check(values, dtype)


@pytest.mark.parametrize("kind", ["Conv1D", "Conv2D", "depthwise Conv2D", "LSTM"])
def test_a_network_that_was_evaluated_is_drawn_again_and_moved_to_another_device(kind: str) -> None:
    node = Node(kind, "float32", hybridized=True)
    drawn = bytes_of(model.read(node.parameters))
    values = draw_values(node.parameters, 1)
    node.train_and_evaluate()
    model.write(node.parameters, pack(values))
    node.check(values, "float32")
    node.device = mx.cpu(1)
    node.net.collect_params().reset_ctx(node.device)
    node.check(values, "float32")
    node.train_and_evaluate()
    model.initialize(node.net, 0, inputs_of(node.examples))
    assert bytes_of(model.read(node.parameters)) == drawn


@pytest.mark.filterwarnings("ignore:Accumulating with float16")
@pytest.mark.parametrize("hybridized", [True, False])
def test_half_precision_goes_through_rounds(*, hybridized: bool) -> None:
    net, examples = Cast(Scale(), "float16"), np.eye(CLASS_COUNT, dtype=np.float32)
    model.initialize(net, 0, inputs_of(examples))
    if hybridized:
        net.hybridize(static_alloc=True, static_shape=True)
    parameters = model.name_parameters(net)
    data = put_data(examples, np.arange(CLASS_COUNT))
    for value in (0.5, 2.0):
        train(net, CLASSES, data, how(batch_size=2), [1])
        evaluate(net, CLASSES, data, how(batch_size=2))
        values = np.full((1, CLASS_COUNT), value, np.float16)
        assert (parameters["body.weight"].data().asnumpy() != values).all()
        model.write(parameters, pack({"body.weight": values}))
        assert (net(*data.inputs).asnumpy() == value * examples).all()
        assert bytes_of(model.read(parameters)) == bytes_of(pack({"body.weight": values}))
