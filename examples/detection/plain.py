"""Finds squares and discs with anchors on one feature map, as SSD does on several.

`python -m examples.detection.plain` prints the mean average precision.
"""

import numpy as np

from client.mx import autograd, gluon, mx
from examples.detection.average_precision import mean_average_precision
from examples.detection.data import CLASSES, draw_scenes

EPOCHS = 8
BATCH_SIZE = 20
SIZES = (0.25, 0.32, 0.4)


class Detector(gluon.HybridBlock):
    """Predicts for each anchor its class, 0 for background, and the offsets of its box."""

    def __init__(self):
        super().__init__()
        self.body = gluon.nn.HybridSequential()
        for channels in (16, 32, 32):
            self.body.add(
                gluon.nn.Conv2D(channels, kernel_size=3, padding=1),
                gluon.nn.BatchNorm(),
                gluon.nn.Activation("relu"),
                gluon.nn.MaxPool2D(),
            )
        self.classes = gluon.nn.Conv2D(len(SIZES) * (len(CLASSES) + 1), kernel_size=3, padding=1)
        self.boxes = gluon.nn.Conv2D(len(SIZES) * 4, kernel_size=3, padding=1)

    def hybrid_forward(self, F, images):
        features = self.body(images)
        anchors = F.contrib.MultiBoxPrior(features, sizes=SIZES, ratios=(1,))
        classes = self.classes(features).transpose((0, 2, 3, 1)).reshape((0, -1, len(CLASSES) + 1))
        return anchors, classes, self.boxes(features).transpose((0, 2, 3, 1)).flatten()


def build_model():
    return Detector()


def load_data():
    return gluon.data.SimpleDataset(draw_scenes(600, 1)), gluon.data.SimpleDataset(draw_scenes(200, 2))


def pad(items):
    """Stack images, and fill up their boxes with -1, which stands for none."""
    images, boxes = zip(*items)
    padded = np.full((len(boxes), max(map(len, boxes)), 5), -1, np.float32)
    for row, some in zip(padded, boxes):
        row[: len(some)] = some
    return mx.nd.array(np.stack(images)), mx.nd.array(padded)


def train(net, data):
    net.hybridize()
    trainer = gluon.Trainer(net.collect_params(), "adam", {"learning_rate": 0.003})
    class_loss, box_loss = gluon.loss.SoftmaxCrossEntropyLoss(), gluon.loss.L1Loss()
    loader = gluon.data.DataLoader(data, BATCH_SIZE, shuffle=True, batchify_fn=pad)
    for _ in range(EPOCHS):
        for images, boxes in loader:
            with autograd.record():
                anchors, classes, offsets = net(images)
                with autograd.pause():
                    targets = mx.nd.contrib.MultiBoxTarget(anchors, boxes, classes.transpose((0, 2, 1)))
                offset_targets, masks, class_targets = targets
                losses = class_loss(classes, class_targets) + box_loss(
                    offsets * masks, offset_targets * masks
                )
            losses.backward()
            trainer.step(len(images))


def evaluate(net, data):
    scenes = []
    for images, boxes in gluon.data.DataLoader(data, BATCH_SIZE, batchify_fn=pad):
        anchors, classes, offsets = net(images)
        scores = classes.softmax().transpose((0, 2, 1))
        found = mx.nd.contrib.MultiBoxDetection(scores, offsets, anchors, nms_threshold=0.45)
        scenes += zip(found.asnumpy(), boxes.asnumpy())
    return {"map": mean_average_precision(scenes, len(CLASSES))}


def main(seed=0):
    mx.random.seed(seed)
    train_set, test_set = load_data()
    net = build_model()
    net.initialize(mx.init.Xavier())
    train(net, train_set)
    return evaluate(net, test_set)


if __name__ == "__main__":
    print(main())
