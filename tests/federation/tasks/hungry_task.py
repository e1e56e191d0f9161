"""The tiny task with a loss that keeps 16 MB at every call."""

import numpy as np

from client.mx import gluon, mx
from tests.federation.tasks.tiny_task import build_model, load_data

__all__ = ["build_model", "load_data", "loss"]

HOARD: list[object] = []


def loss() -> object:
    return _hoard


def _hoard(outputs: mx.nd.NDArray, labels: mx.nd.NDArray) -> mx.nd.NDArray:
    HOARD.append(np.ones(2_000_000))
    return gluon.loss.SoftmaxCrossEntropyLoss()(outputs, labels)
