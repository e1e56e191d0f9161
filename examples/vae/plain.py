"""Encodes digits as eight numbers, and draws digits from such numbers.

`python -m examples.vae.plain` prints the negative evidence lower bound, the sum of both parts of the loss.
"""

from client.mx import autograd, gluon, mx
from examples.vae.data import load_digits

EPOCHS = 20
BATCH_SIZE = 50
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


def load_data():
    return [gluon.data.ArrayDataset(images) for images in load_digits()]


def loss():
    cross_entropy = gluon.loss.SigmoidBCELoss()

    def bound(outputs, images):
        decoded, mean, log_variance = outputs
        divergence = (mean**2 + log_variance.exp() - 1 - log_variance).sum(axis=1) / 2
        return cross_entropy(decoded, images) * 196 + divergence

    return bound


def train(net, data):
    net.hybridize()
    bound = loss()
    trainer = gluon.Trainer(net.collect_params(), "adam", {"learning_rate": 0.002})
    loader = gluon.data.DataLoader(data, BATCH_SIZE, shuffle=True)
    for _ in range(EPOCHS):
        for images in loader:
            with autograd.record():
                losses = bound(net(images), images)
            losses.backward()
            trainer.step(len(images))


def evaluate(net, data):
    bound = loss()
    total = sum(bound(net(images), images).sum() for images in gluon.data.DataLoader(data, BATCH_SIZE))
    return {"loss": total.asscalar() / len(data)}


def main(seed=0):
    mx.random.seed(seed)
    train_set, test_set = load_data()
    net = build_model()
    net.initialize(mx.init.Xavier())
    train(net, train_set)
    return evaluate(net, test_set)


if __name__ == "__main__":
    print(main())
