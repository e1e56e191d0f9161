"""The task of `plain.py`: the built-in loop, in which an image is its own label."""

from client.mx import gluon
from examples.vae.data import load_digits

LATENT = 8


class Autoencoder(gluon.HybridBlock):
    """Returns the decoded image, and mean and logarithm of the variance of its code."""

    def __init__(self):
        super().__init__()
        self.encoder = gluon.nn.HybridSequential()
        self.encoder.add(gluon.nn.Dense(128, activation="relu"), gluon.nn.Dense(2 * LATENT))
        self.decoder = gluon.nn.HybridSequential()
        self.decoder.add(gluon.nn.Dense(128, activation="relu"), gluon.nn.Dense(196))

    def hybrid_forward(self, F, images):
        mean, log_variance = self.encoder(images).split(2, axis=1)
        codes = mean + F.exp(log_variance / 2) * F.random.normal_like(mean)
        return self.decoder(codes), mean, log_variance


def build_model():
    return Autoencoder()


def load_data(data_dir):
    return [(images, images) for images in load_digits(data_dir)]


def loss():
    cross_entropy = gluon.loss.SigmoidBCELoss()

    def bound(outputs, images):
        decoded, mean, log_variance = outputs
        divergence = (mean**2 + log_variance.exp() - 1 - log_variance).sum(axis=1) / 2
        return cross_entropy(decoded, images) * 196 + divergence

    return bound
