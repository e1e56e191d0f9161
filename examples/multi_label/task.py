"""The task of `plain.py`: the built-in loop with a loss that weights positives."""

from client.mx import gluon, mx
from examples.multi_label.data import LABELS, load_examples


def build_model():
    net = gluon.nn.HybridSequential()
    net.add(gluon.nn.Dense(64, activation="relu"), gluon.nn.Dropout(0.3), gluon.nn.Dense(LABELS))
    return net


def load_data(data_dir):
    return load_examples()


def loss():
    cross_entropy = gluon.loss.SigmoidBCELoss()
    weights = mx.nd.full((1, LABELS), 11)
    return lambda outputs, labels: cross_entropy(outputs, labels, None, weights)


def evaluate(net, data, context):
    features, labels = data[:]
    scores = net(mx.nd.array(features)).asnumpy()
    # How often a positive has a larger score than a negative.
    ranks = scores.argsort(axis=0).argsort(axis=0) + 1
    positives = labels.sum(axis=0)
    above = (ranks * labels).sum(axis=0) - positives * (positives + 1) / 2
    return {"auc": (above / positives / (len(labels) - positives)).mean()}
