"""Finds rare labels; a positive counts eleven times as much as a negative.

`python -m examples.multi_label.plain` prints the mean area under the receiver operating characteristic.
"""

from client.mx import autograd, gluon, mx
from examples.multi_label.data import LABELS, load_examples

EPOCHS = 15
BATCH_SIZE = 50


def build_model():
    net = gluon.nn.HybridSequential()
    net.add(gluon.nn.Dense(64, activation="relu"), gluon.nn.Dropout(0.3), gluon.nn.Dense(LABELS))
    return net


def load_data():
    return [gluon.data.ArrayDataset(*part) for part in load_examples()]


def loss():
    cross_entropy = gluon.loss.SigmoidBCELoss()
    weights = mx.nd.full((1, LABELS), 11)
    return lambda outputs, labels: cross_entropy(outputs, labels, None, weights)


def train(net, data):
    net.hybridize()
    measure = loss()
    trainer = gluon.Trainer(net.collect_params(), "rmsprop", {"learning_rate": 0.001})
    loader = gluon.data.DataLoader(data, BATCH_SIZE, shuffle=True)
    for _ in range(EPOCHS):
        for features, labels in loader:
            with autograd.record():
                losses = measure(net(features), labels)
            losses.backward()
            trainer.step(len(features))


def evaluate(net, data):
    features, labels = data[:]
    scores = net(mx.nd.array(features)).asnumpy()
    # How often a positive has a larger score than a negative.
    ranks = scores.argsort(axis=0).argsort(axis=0) + 1
    positives = labels.sum(axis=0)
    above = (ranks * labels).sum(axis=0) - positives * (positives + 1) / 2
    return {"auc": (above / positives / (len(labels) - positives)).mean()}


def main(seed=0):
    mx.random.seed(seed)
    train_set, test_set = load_data()
    net = build_model()
    net.initialize(mx.init.Xavier())
    train(net, train_set)
    return evaluate(net, test_set)


if __name__ == "__main__":
    print(main())
