"""The clusters of the tiny task, and a network with a mistake that only a round shows; FAULT chooses it."""

import os
from typing import Any

from client.mx import gluon
from tests.federation.tasks.tiny_task import load_data

__all__ = ["build_model", "load_data"]

FAULT = os.environ["FAULT"]


class Net(gluon.HybridBlock):  # type: ignore[misc]  # MXNet has no types
    def __init__(self) -> None:
        super().__init__()
        self.head = gluon.nn.Dense(4)
        if FAULT == "unused":
            self.other = gluon.nn.Dense(4, in_units=8, bias_initializer="ones")
        if FAULT == "unreached":
            self.other = gluon.nn.Dense(4)

    def hybrid_forward(self, F: Any, x: Any) -> Any:  # noqa: ARG002, N803 - MXNet's name
        if FAULT == "shape":
            x = x.reshape((x.shape[0], -1))
        return self.head(x)


def build_model() -> gluon.HybridBlock:
    net = Net()
    if FAULT == "frozen":
        net.collect_params().setattr("grad_req", "null")
    return net
