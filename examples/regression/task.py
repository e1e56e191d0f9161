"""The task of `plain.py`: the built-in loop with Adam, and an evaluation of its own."""

from client.mx import gluon, mx
from examples.regression.data import load_houses


def build_model():
    net = gluon.nn.HybridSequential()
    net.add(gluon.nn.Dense(64, activation="relu"), gluon.nn.Dense(32, activation="relu"), gluon.nn.Dense(1))
    return net


def load_data(data_dir):
    return load_houses()


def loss():
    return gluon.loss.L2Loss()


def evaluate(net, data, context):
    features, prices = map(mx.nd.array, data[:])
    # A price below 10 000 is a mistake, and has no logarithm below 0.
    errors = mx.nd.log(net(features).clip(0.1, 1e9)) - mx.nd.log(prices)
    return {"log_rmse": (errors**2).mean().sqrt()}
