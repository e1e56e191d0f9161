"""A task whose loss raises once it is trained, as a user's mistake would."""

from client.mx import autograd, gluon, mx
from tests.federation.tasks.tiny_task import build_model, load_data

__all__ = ["build_model", "load_data", "loss"]


def loss() -> object:
    return _raise


def _raise(outputs: mx.nd.NDArray, labels: mx.nd.NDArray) -> mx.nd.NDArray:
    if autograd.is_recording():
        message = "the columns do not fit"
        raise RuntimeError(message)
    return gluon.loss.SoftmaxCrossEntropyLoss()(outputs, labels)
