"""The task of `plain.py`: a loop of its own with two trainers."""

import numpy as np

from client.mx import autograd, gluon, mx
from examples.dcgan.data import load_digits

NOISE = 32


class Gan(gluon.Block):
    """Both networks; a call draws images from noise."""

    def __init__(self):
        super().__init__()
        self.generator = gluon.nn.HybridSequential()
        self.generator.add(
            gluon.nn.Dense(32 * 7 * 7, in_units=NOISE),
            gluon.nn.HybridLambda(lambda F, x: x.reshape((-1, 32, 7, 7))),
            gluon.nn.BatchNorm(in_channels=32),
            gluon.nn.Activation("relu"),
            gluon.nn.Conv2DTranspose(16, 4, strides=2, padding=1, in_channels=32, use_bias=False),
            gluon.nn.BatchNorm(in_channels=16),
            gluon.nn.Activation("relu"),
            gluon.nn.Conv2D(1, 3, padding=1, in_channels=16, activation="tanh"),
        )
        self.discriminator = gluon.nn.HybridSequential()
        self.discriminator.add(
            gluon.nn.Conv2D(16, 4, strides=2, padding=1, in_channels=1),
            gluon.nn.LeakyReLU(0.2),
            gluon.nn.Conv2D(32, 3, padding=1, in_channels=16, use_bias=False),
            gluon.nn.BatchNorm(in_channels=32),
            gluon.nn.LeakyReLU(0.2),
            gluon.nn.Dense(1, in_units=32 * 7 * 7),
        )

    def forward(self, noise):
        return self.generator(noise)


def build_model():
    return Gan()


def load_data(data_dir):
    return [gluon.data.ArrayDataset(images) for images in load_digits(data_dir)]


def draw_noise(count):
    return mx.nd.random.normal(shape=(count, NOISE))


def train(net, data, context):
    net.hybridize()
    loss = gluon.loss.SigmoidBCELoss()
    adam = {"learning_rate": context.learning_rate, "beta1": 0.5}
    generating = gluon.Trainer(net.generator.collect_params(), "adam", adam)
    discriminating = gluon.Trainer(net.discriminator.collect_params(), "adam", adam)
    loader = gluon.data.DataLoader(data, context.batch_size, shuffle=True)
    for _ in range(context.epochs):
        for images in loader:
            ones, zeros = mx.nd.ones(len(images)), mx.nd.zeros(len(images))
            with autograd.record():
                drawn = net(draw_noise(len(images)))
                real_loss = loss(net.discriminator(images), ones)
                losses = real_loss + loss(net.discriminator(drawn.detach()), zeros)
            losses.backward()
            discriminating.step(len(images))
            with autograd.record():
                losses = loss(net.discriminator(drawn), ones)
            losses.backward()
            generating.step(len(images))


def evaluate(net, data, context):
    loss = gluon.loss.SigmoidBCELoss()
    images = mx.nd.array(np.stack(data[:]))
    ones, zeros = mx.nd.ones(len(images)), mx.nd.zeros(len(images))
    judged = net.discriminator(net(draw_noise(len(images))))
    real_loss = loss(net.discriminator(images), ones)
    return {
        "discriminator_loss": (real_loss + loss(judged, zeros)).mean().asscalar(),
        "generator_loss": loss(judged, ones).mean().asscalar(),
    }
