"""Classifies images with a small residual network, random crops and flips, NAG and a schedule of steps.

`python -m examples.resnet.plain` prints the accuracy.
"""

import numpy as np

from client.mx import autograd, gluon, mx
from examples.resnet.data import CLASSES, draw_images

EPOCHS = 8
BATCH_SIZE = 50


class Residual(gluon.HybridBlock):
    """Two convolutions beside a shortcut, which halve the image."""

    def __init__(self, channels):
        super().__init__()
        self.body = gluon.nn.HybridSequential()
        self.body.add(
            gluon.nn.Conv2D(channels, kernel_size=3, strides=2, padding=1, use_bias=False),
            gluon.nn.BatchNorm(),
            gluon.nn.Activation("relu"),
            gluon.nn.Conv2D(channels, kernel_size=3, padding=1, use_bias=False),
            gluon.nn.BatchNorm(),
        )
        self.shortcut = gluon.nn.Conv2D(channels, kernel_size=1, strides=2, use_bias=False)

    def hybrid_forward(self, F, x):
        return F.relu(self.body(x) + self.shortcut(x))


def build_model():
    net = gluon.nn.HybridSequential()
    net.add(*(Residual(channels) for channels in (16, 32, 64)))
    net.add(gluon.nn.GlobalAvgPool2D(), gluon.nn.Dense(CLASSES))
    return net


def load_data():
    transforms = gluon.data.vision.transforms
    convert = [transforms.ToTensor(), transforms.Normalize(0.5, 0.25)]
    augment = [transforms.RandomResizedCrop(32, scale=(0.5, 1)), transforms.RandomFlipLeftRight(), *convert]
    sets = []
    for seed, count, steps in ((1, 1500, augment), (2, 500, convert)):
        images, labels = draw_images(count, seed)
        data = gluon.data.ArrayDataset(mx.nd.array(images, dtype="uint8"), labels)
        sets.append(data.transform_first(transforms.Compose(steps)))
    return sets


def train(net, data):
    net.hybridize()
    loss = gluon.loss.SoftmaxCrossEntropyLoss()
    steps = mx.lr_scheduler.MultiFactorScheduler([5 * len(data) // BATCH_SIZE], factor=0.1, base_lr=0.02)
    nag = {"learning_rate": 0.02, "momentum": 0.9, "wd": 0.0005, "lr_scheduler": steps}
    trainer = gluon.Trainer(net.collect_params(), "nag", nag)
    loader = gluon.data.DataLoader(data, BATCH_SIZE, shuffle=True)
    for _ in range(EPOCHS):
        for images, labels in loader:
            with autograd.record():
                losses = loss(net(images), labels)
            losses.backward()
            trainer.step(len(images))


def evaluate(net, data):
    metric = mx.metric.Accuracy()
    for images, labels in gluon.data.DataLoader(data, BATCH_SIZE):
        metric.update(labels, net(images))
    return {"accuracy": metric.get()[1]}


def main(seed=0):
    mx.random.seed(seed)
    np.random.seed(seed)
    train_set, test_set = load_data()
    net = build_model()
    net.initialize(mx.init.Xavier())
    train(net, train_set)
    return evaluate(net, test_set)


if __name__ == "__main__":
    print(main())
