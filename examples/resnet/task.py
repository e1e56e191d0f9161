"""The task of `plain.py`: the built-in loop; settings choose the optimizer and its schedule."""

from client.mx import gluon, mx
from examples.resnet.data import CLASSES, draw_images


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


def load_data(data_dir):
    transforms = gluon.data.vision.transforms
    convert = [transforms.ToTensor(), transforms.Normalize(0.5, 0.25)]
    augment = [transforms.RandomResizedCrop(32, scale=(0.5, 1)), transforms.RandomFlipLeftRight(), *convert]
    sets = []
    for seed, count, steps in ((1, 1500, augment), (2, 500, convert)):
        images, labels = draw_images(count, seed)
        data = gluon.data.ArrayDataset(mx.nd.array(images, dtype="uint8"), labels)
        sets.append(data.transform_first(transforms.Compose(steps)))
    return sets
