"""Rounds with every kind of layer: the network computes with exactly the arrays that were written to it.

oneDNN puts weights into an order of its own, which depends on the layer, its channels and whether gradients
are computed, so that a test of one kind of layer proves nothing about another.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from flwr.app import ArrayRecord
from numpy.typing import NDArray

from client import model
from client.mx import gluon, mx
from client.training import evaluate, train
from fedmx import arrays
from tests.client.given.small import CLASSES, CPU, how, inputs_of, put_data

nn, rnn, contrib = gluon.nn, gluon.rnn, gluon.contrib

Values = dict[str, NDArray[Any]]
# The channels of one layer after another: oneDNN blocks some sizes and not others. One channel comes first,
# since MXNet cannot train a transposed convolution from 16 or more channels to one ("could not create a
# primitive").
CHANNELS = (1, 3, 8, 16, 64, 32)
ROWS, CLASS_COUNT = 5, 3
LINE, SQUARE, CUBE, WORDS, STEPS = (3, 7), (3, 5, 5), (3, 3, 3, 3), (5,), (4, 3)


class Unrolled(gluon.HybridBlock):  # type: ignore[misc]  # MXNet has no types
    """Runs a cell along the examples' first axis, from a state of zeros in their dtype."""

    def __init__(self, cell: gluon.HybridBlock, units: int) -> None:
        super().__init__()
        self.cell = cell
        self.units = units

    def hybrid_forward(self, F: Any, x: Any) -> Any:  # noqa: N803 - MXNet's name
        first = F.zeros_like(F.slice(x, begin=(None, 0, 0), end=(None, 1, 1)))
        state = F.tile(F.reshape(first, (-1, 1)), (1, self.units))
        states = [state for _ in self.cell.state_info()]
        return self.cell.unroll(STEPS[0], x, begin_state=states, layout="NTC", merge_outputs=True)[0]


class Residual(gluon.HybridBlock):  # type: ignore[misc]  # MXNet has no types
    """Two convolutions beside one of size 1, as in a ResNet, with channels weighted by their means."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = stack(convolve(channels), nn.BatchNorm(), nn.Activation("relu"), convolve(channels))
        self.short = nn.Conv2D(channels, 1, use_bias=False)
        self.weigh = stack(
            nn.GlobalAvgPool2D(), nn.Conv2D(4, 1), nn.Conv2D(channels, 1, activation="sigmoid")
        )

    def hybrid_forward(self, F: Any, x: Any) -> Any:  # noqa: N803 - MXNet's name
        return F.broadcast_mul(self.body(x), self.weigh(x)) + self.short(x)


class Cast(gluon.HybridBlock):  # type: ignore[misc]  # MXNet has no types
    """Computes in another dtype than that of its examples."""

    def __init__(self, body: gluon.HybridBlock, dtype: str) -> None:
        super().__init__()
        self.body = body
        self.body.cast(dtype)
        self.dtype = dtype

    def hybrid_forward(self, F: Any, x: Any) -> Any:  # noqa: N803 - MXNet's name
        # Embedding refuses to compute the gradient of what it looks up.
        return F.cast(self.body(F.BlockGrad(F.cast(x, self.dtype))), "float32")


def stack(*layers: gluon.HybridBlock) -> gluon.HybridBlock:
    net = nn.HybridSequential()
    net.add(*layers)
    return net


def beside(*layers: gluon.HybridBlock) -> gluon.HybridBlock:
    net = contrib.nn.HybridConcurrent(axis=-1)
    net.add(*layers)
    return net


def convolve(channels: int, size: int = 3, **options: Any) -> gluon.HybridBlock:
    return nn.Conv2D(channels, size, padding=size // 2, **options)


def chain(layer: Callable[[int], gluon.HybridBlock]) -> Callable[[], gluon.HybridBlock]:
    return lambda: stack(*(layer(channels) for channels in CHANNELS))


def after_convolutions(layer: Callable[[], gluon.HybridBlock]) -> Callable[[], gluon.HybridBlock]:
    return chain(lambda c: stack(convolve(c), layer()))


def grouped(channels: int) -> gluon.HybridBlock:
    groups = max(channels // 4, 1)
    return stack(convolve(channels, 1), convolve(2 * channels, groups=groups))


KINDS: dict[str, tuple[Callable[[], gluon.HybridBlock], tuple[int, ...]]] = {
    "Dense": (chain(lambda c: nn.Dense(c, activation="tanh")), SQUARE),
    "Dense on the last axis": (chain(lambda c: nn.Dense(c, flatten=False, use_bias=False)), LINE),
    "Conv1D": (chain(lambda c: nn.Conv1D(c, 3, padding=1)), LINE),
    "Conv2D": (chain(convolve), SQUARE),
    "Conv2D without bias": (chain(lambda c: convolve(c, 5, use_bias=False)), SQUARE),
    "Conv2D of size 1": (chain(lambda c: convolve(c, 1)), SQUARE),
    "Conv2D with strides": (chain(lambda c: nn.Conv2D(c, (3, 2), strides=(2, 1), padding=1)), SQUARE),
    "Conv2D with dilation": (chain(lambda c: nn.Conv2D(c, 3, dilation=2, padding=2)), SQUARE),
    "Conv3D": (chain(lambda c: nn.Conv3D(c, 3, padding=1)), CUBE),
    "grouped Conv2D": (chain(grouped), SQUARE),
    "depthwise Conv2D": (chain(lambda c: stack(convolve(c, 1), convolve(c, groups=c))), SQUARE),
    "depthwise Conv1D": (
        chain(lambda c: stack(nn.Conv1D(c, 1), nn.Conv1D(c, 3, padding=1, groups=c))),
        LINE,
    ),
    "Conv1DTranspose": (chain(lambda c: nn.Conv1DTranspose(c, 3, padding=1)), LINE),
    "Conv2DTranspose": (chain(lambda c: nn.Conv2DTranspose(c, 3, padding=1)), SQUARE),
    "depthwise Conv2DTranspose": (
        chain(lambda c: stack(convolve(c, 1), nn.Conv2DTranspose(c, 3, padding=1, groups=c, in_channels=c))),
        SQUARE,
    ),
    "BatchNorm": (after_convolutions(nn.BatchNorm), SQUARE),
    "BatchNorm alone": (after_convolutions(lambda: nn.BatchNorm(scale=False, center=False)), SQUARE),
    "SyncBatchNorm": (after_convolutions(lambda: contrib.nn.SyncBatchNorm(num_devices=1)), SQUARE),
    "LayerNorm": (after_convolutions(nn.LayerNorm), SQUARE),
    "GroupNorm": (after_convolutions(lambda: nn.GroupNorm(num_groups=1)), SQUARE),
    "InstanceNorm": (after_convolutions(nn.InstanceNorm), SQUARE),
    "PReLU": (after_convolutions(nn.PReLU), SQUARE),
    "Embedding": (lambda: beside(*(nn.Embedding(4, c) for c in CHANNELS)), WORDS),
    "Embedding with sparse gradients": (
        lambda: beside(*(nn.Embedding(4, c, sparse_grad=True) for c in CHANNELS)),
        WORDS,
    ),
    "RNN": (chain(lambda c: rnn.RNN(c, layout="NTC")), STEPS),
    "LSTM": (chain(lambda c: rnn.LSTM(c, layout="NTC")), STEPS),
    "LSTM of two layers": (chain(lambda c: rnn.LSTM(c, num_layers=2, layout="NTC")), STEPS),
    "LSTM in both directions": (chain(lambda c: rnn.LSTM(c, layout="NTC", bidirectional=True)), STEPS),
    "GRU": (chain(lambda c: rnn.GRU(c, layout="NTC")), STEPS),
    "GRU of two layers": (chain(lambda c: rnn.GRU(c, num_layers=2, layout="NTC")), STEPS),
    "RNNCell": (chain(lambda c: Unrolled(rnn.RNNCell(c), c)), STEPS),
    "LSTMCell": (chain(lambda c: Unrolled(rnn.LSTMCell(c), c)), STEPS),
    "GRUCell": (chain(lambda c: Unrolled(rnn.GRUCell(c), c)), STEPS),
    "blocks in blocks": (chain(Residual), SQUARE),
}
# MXNet has them in single precision only.
SINGLE = ("SyncBatchNorm", "InstanceNorm")
# In double precision, their gradients read memory that MXNet did not initialize, and become NaN now and then.
TRAINED_SINGLE = (*SINGLE, "LSTM of two layers", "GRU of two layers")


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
