"""Labels pixels; an auxiliary head in the middle of the network helps training.

`python -m examples.segmentation.plain` prints the mean intersection over union.
"""

import numpy as np

from client.mx import autograd, gluon, mx
from examples.segmentation.data import CLASSES, draw_shapes

EPOCHS = 12
BATCH_SIZE = 20


def convolve(channels, strides=1):
    block = gluon.nn.HybridSequential()
    block.add(
        gluon.nn.Conv2D(channels, kernel_size=3, strides=strides, padding=1, use_bias=False),
        gluon.nn.BatchNorm(),
        gluon.nn.Activation("relu"),
    )
    return block


class Segmenter(gluon.HybridBlock):
    """Returns scores (n, classes, rows, columns) of the network's end, and of its middle."""

    def __init__(self):
        super().__init__()
        self.fine = convolve(16)
        self.middle = convolve(32, strides=2)
        self.coarse = convolve(32, strides=2)
        self.up = gluon.nn.Conv2DTranspose(32, kernel_size=4, strides=2, padding=1)
        self.up_again = gluon.nn.Conv2DTranspose(16, kernel_size=4, strides=2, padding=1)
        self.head = gluon.nn.Conv2D(CLASSES, kernel_size=3, padding=1)
        self.auxiliary = gluon.nn.Conv2DTranspose(CLASSES, kernel_size=4, strides=2, padding=1)

    def hybrid_forward(self, F, images):
        fine = self.fine(images)
        middle = self.middle(fine)
        up = F.relu(self.up(self.coarse(middle)) + middle)
        return self.head(F.relu(self.up_again(up) + fine)), self.auxiliary(middle)


def build_model():
    return Segmenter()


def load_data():
    return [gluon.data.ArrayDataset(*draw_shapes(count, seed)) for count, seed in ((400, 1), (200, 2))]


def loss():
    per_pixel = gluon.loss.SoftmaxCrossEntropyLoss(axis=1)
    return lambda outputs, masks: per_pixel(outputs[0], masks) + 0.4 * per_pixel(outputs[1], masks)


def train(net, data):
    net.hybridize()
    measure = loss()
    trainer = gluon.Trainer(net.collect_params(), "adam", {"learning_rate": 0.005})
    loader = gluon.data.DataLoader(data, BATCH_SIZE, shuffle=True)
    for _ in range(EPOCHS):
        for images, masks in loader:
            with autograd.record():
                losses = measure(net(images), masks)
            losses.backward()
            trainer.step(len(images))


def evaluate(net, data):
    # Pixels by their class and the class that the network found.
    counts = np.zeros((CLASSES, CLASSES))
    for images, masks in gluon.data.DataLoader(data, BATCH_SIZE):
        found = net(images)[0].argmax(axis=1).asnumpy().astype(int)
        np.add.at(counts, (masks.asnumpy().ravel(), found.ravel()), 1)
    shared = counts.diagonal()
    return {"miou": (shared / (counts.sum(axis=0) + counts.sum(axis=1) - shared)).mean()}


def main(seed=0):
    mx.random.seed(seed)
    train_set, test_set = load_data()
    net = build_model()
    net.initialize(mx.init.Xavier())
    train(net, train_set)
    return evaluate(net, test_set)


if __name__ == "__main__":
    print(main())
