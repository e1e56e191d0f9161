"""Networks of every kind of layer, with several numbers of channels each."""

from collections.abc import Callable
from typing import Any

from client.mx import gluon

nn, rnn, contrib = gluon.nn, gluon.rnn, gluon.contrib

# The channels of one layer after another: oneDNN blocks some sizes and not others. One channel comes first,
# since MXNet cannot train a transposed convolution from 16 or more channels to one ("could not create a
# primitive").
CHANNELS = (1, 3, 8, 16, 64, 32)
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
