"""A convolutional network on MNIST: two convolutions, each with batch normalization and pooling."""

from client.mx import gluon
from client.tasks.mnist import load_data

__all__ = ["build_model", "load_data"]


def build_model() -> gluon.HybridBlock:
    """Build the network: 3x3 convolutions with 16 and 32 channels, and a layer of 10 outputs."""
    net = gluon.nn.HybridSequential()
    for channels in (16, 32):
        net.add(
            gluon.nn.Conv2D(channels, kernel_size=3),
            gluon.nn.BatchNorm(),
            gluon.nn.Activation("relu"),
            gluon.nn.MaxPool2D(),
        )
    net.add(gluon.nn.Dense(10))
    return net
