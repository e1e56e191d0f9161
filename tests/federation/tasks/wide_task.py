"""The clusters of the tiny task and a model of 5 MB, which is more than sockets buffer."""

from client.mx import gluon
from tests.federation.tasks.tiny_task import load_data

__all__ = ["build_model", "load_data"]

HIDDEN = 100_000
MODEL_BYTES = 4 * (9 * HIDDEN + 4 * HIDDEN + 4)


def build_model() -> gluon.HybridBlock:
    net = gluon.nn.HybridSequential()
    net.add(gluon.nn.Dense(HIDDEN, activation="relu", in_units=8), gluon.nn.Dense(4, in_units=HIDDEN))
    return net
