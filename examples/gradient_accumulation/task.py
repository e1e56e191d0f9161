"""The task of `plain.py`: a loop of its own, and the built-in evaluation."""

from client.mx import autograd, gluon
from examples.gradient_accumulation.data import load_digits

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


def load_data(data_dir):
    return load_digits(data_dir)


def train(net, data, context):
    net.hybridize()
    net.collect_params().setattr("grad_req", "add")
    loss = gluon.loss.SoftmaxCrossEntropyLoss()
    trainer = gluon.Trainer(
        net.collect_params(), "sgd", {"learning_rate": context.learning_rate, "momentum": 0.9}
    )
    loader = gluon.data.DataLoader(data, context.batch_size, shuffle=True)
    for _ in range(context.epochs):
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
