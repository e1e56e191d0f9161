"""Tunes a network of the model zoo from a weights file: new last layer, all others frozen.

`python -m examples.fine_tuning.pretrain` writes the weights, `python -m examples.fine_tuning.plain` prints
the accuracy.
"""

from client.mx import autograd, gluon, mx
from examples.fine_tuning.data import WEIGHTS, load_digits

EPOCHS = 12
BATCH_SIZE = 50


def build_model():
    net = gluon.model_zoo.vision.mobilenet0_25(classes=10)
    net.features.load_parameters(str(WEIGHTS))
    return net


def load_data():
    return [gluon.data.ArrayDataset(*part) for part in load_digits()]


def train(net, data):
    net.hybridize()
    loss = gluon.loss.SoftmaxCrossEntropyLoss()
    trainer = gluon.Trainer(net.output.collect_params(), "adam", {"learning_rate": 0.01})
    for _ in range(EPOCHS):
        for images, labels in gluon.data.DataLoader(data, BATCH_SIZE, shuffle=True):
            # Outside of the record, batch normalization uses the pretrained statistics and keeps them.
            features = net.features(images)
            with autograd.record():
                losses = loss(net.output(features), labels)
            losses.backward()
            trainer.step(len(images))


def evaluate(net, data):
    metric = mx.metric.Accuracy()
    for images, labels in gluon.data.DataLoader(data, BATCH_SIZE):
        metric.update(labels, net(images))
    return {"accuracy": metric.get()[1]}


def main(seed=0):
    mx.random.seed(seed)
    train_set, test_set = load_data()
    net = build_model()
    net.output.initialize(mx.init.Xavier())
    train(net, train_set)
    return evaluate(net, test_set)


if __name__ == "__main__":
    print(main())
