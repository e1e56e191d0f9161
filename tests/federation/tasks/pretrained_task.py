"""The clusters of the tiny task, a frozen and a trained pretrained layer, and a new head."""

import os

from client.mx import gluon, mx
from tests.federation.tasks.tiny_task import load_data

__all__ = ["build_model", "load_data"]

# Stands for the content of a file; a test changes it on one node.
VALUE = float(os.environ.get("PRETRAINED_VALUE", "0.3"))


def build_model() -> gluon.HybridBlock:
    frozen, trained = gluon.nn.Dense(8, in_units=8), gluon.nn.Dense(8, in_units=8)
    for layer in (frozen, trained):
        layer.initialize()
        layer.weight.set_data(mx.nd.eye(8) + VALUE)
    frozen.collect_params().setattr("grad_req", "null")
    net = gluon.nn.HybridSequential()
    net.add(frozen, trained, gluon.nn.Dense(4))
    return net
