"""The clusters of the tiny task, a wide frozen body with batch normalization, and a head of any width.

The option `drawn` leaves the body to be drawn from the seed, so that no node has it before the run.
"""

from typing import Any

import numpy as np

from client.mx import gluon, mx
from tests.federation.tasks.tiny_task import load_data

__all__ = ["FROZEN", "build_model", "load_data"]

FROZEN = ["body.*"]
WIDTH = 4096


class Net(gluon.HybridBlock):  # type: ignore[misc] # MXNet has no types
    """A body and a head."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.body = gluon.nn.HybridSequential()
        self.body.add(gluon.nn.Dense(WIDTH, in_units=8), gluon.nn.BatchNorm(in_channels=WIDTH))
        self.head = gluon.nn.HybridSequential()
        self.head.add(gluon.nn.Dense(hidden), gluon.nn.Dense(4))

    def hybrid_forward(self, _: Any, examples: Any) -> Any:
        """Apply the head to the body."""
        return self.head(self.body(examples))


def build_model(options: dict[str, int]) -> gluon.HybridBlock:
    net = Net(options.get("hidden", 8))
    if options.get("drawn"):
        return net
    net.body.initialize()
    net.body[0].weight.set_data(mx.nd.array(np.random.default_rng(0).normal(size=(WIDTH, 8)) / 64))
    net.body[1].running_var.set_data(mx.nd.full((WIDTH,), 0.25))
    return net
