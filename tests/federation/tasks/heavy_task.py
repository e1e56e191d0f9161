"""The clusters of the tiny task and a model of 64 MB: a few exceed a small memory limit."""

from client.mx import gluon
from tests.federation.tasks.tiny_task import load_data

__all__ = ["build_model", "load_data"]

HIDDEN = 4_000
MODEL_BYTES = 4 * (9 * HIDDEN + (HIDDEN + 1) * HIDDEN + 4 * (HIDDEN + 1))


def build_model() -> gluon.HybridBlock:
    net = gluon.nn.HybridSequential()
    net.add(
        gluon.nn.Dense(HIDDEN, activation="relu", in_units=8),
        gluon.nn.Dense(HIDDEN, activation="relu", in_units=HIDDEN),
        gluon.nn.Dense(4, in_units=HIDDEN),
    )
    return net
