"""`python -m examples.fine_tuning.pretrain` writes the weights file, as a model zoo has one to download."""

from client.mx import autograd, gluon, mx
from examples.fine_tuning.data import WEIGHTS, load_upright_digits


def pretrain():
    """Train, and save all layers but the last."""
    mx.random.seed(0)
    net = gluon.model_zoo.vision.mobilenet0_25(classes=10)
    net.initialize(mx.init.Xavier())
    net.hybridize()
    (images, labels), _ = load_upright_digits()
    loss = gluon.loss.SoftmaxCrossEntropyLoss()
    trainer = gluon.Trainer(net.collect_params(), "adam", {"learning_rate": 0.003})
    loader = gluon.data.DataLoader(gluon.data.ArrayDataset(images, labels), 50, shuffle=True)
    for _ in range(3):
        for batch, classes in loader:
            with autograd.record():
                losses = loss(net(batch), classes)
            losses.backward()
            trainer.step(len(batch))
    net.features.save_parameters(str(WEIGHTS))


if __name__ == "__main__":
    pretrain()
