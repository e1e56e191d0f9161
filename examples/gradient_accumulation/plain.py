"""Trains with batches of 60 of which only 20 examples are in memory at a time.

`python -m examples.gradient_accumulation.plain` prints the accuracy.
"""

from client.mx import autograd, gluon, mx
from examples.gradient_accumulation.data import load_digits

EPOCHS = 8
BATCH_SIZE = 20
ACCUMULATE = 3


def build_model():
    net = gluon.nn.HybridSequential()
    net.add(
        gluon.nn.Conv2D(16, kernel_size=3, in_channels=1, activation="relu"),
        gluon.nn.MaxPool2D(),
        gluon.nn.Conv2D(32, kernel_size=3, in_channels=16, activation="relu"),
        gluon.nn.MaxPool2D(),
        gluon.nn.Dense(10, in_units=32 * 2 * 2),
    )
    return net


def load_data():
    return [gluon.data.ArrayDataset(*part) for part in load_digits()]


def train(net, data):
    net.hybridize()
    net.collect_params().setattr("grad_req", "add")
    loss = gluon.loss.SoftmaxCrossEntropyLoss()
    trainer = gluon.Trainer(net.collect_params(), "sgd", {"learning_rate": 0.1, "momentum": 0.9})
    loader = gluon.data.DataLoader(data, BATCH_SIZE, shuffle=True)
    for _ in range(EPOCHS):
        seen = 0
        for count, (images, labels) in enumerate(loader, 1):
            with autograd.record():
                losses = loss(net(images), labels)
            losses.backward()
            seen += len(images)
            if count % ACCUMULATE == 0 or count == len(loader):
                trainer.step(seen)
                net.collect_params().zero_grad()
                seen = 0


def evaluate(net, data):
    metric = mx.metric.Accuracy()
    for images, labels in gluon.data.DataLoader(data, BATCH_SIZE):
        metric.update(labels, net(images))
    return {"accuracy": metric.get()[1]}


def main(seed=0):
    mx.random.seed(seed)
    train_set, test_set = load_data()
    net = build_model()
    net.initialize(mx.init.Xavier())
    train(net, train_set)
    return evaluate(net, test_set)


if __name__ == "__main__":
    print(main())
