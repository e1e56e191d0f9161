"""A task whose loss raises in a round, a mistake that the rehearsal cannot find."""

from client.mx import autograd, gluon, mx
from tests.federation.tasks.tiny_task import build_model, load_data

__all__ = ["build_model", "load_data", "loss"]

# The server's default.
BATCH_SIZE = 100


def loss() -> object:
    return _raise


def _raise(outputs: mx.nd.NDArray, labels: mx.nd.NDArray) -> mx.nd.NDArray:
    if autograd.is_recording() and len(labels) == BATCH_SIZE:
        message = "the columns do not fit"
        raise RuntimeError(message)
    return gluon.loss.SoftmaxCrossEntropyLoss()(outputs, labels)
