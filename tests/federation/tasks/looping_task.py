"""The tiny task with loops of its own: Adam, and the mean distance of the outputs as the only metric."""

from typing import Any

from client.context import Context
from client.mx import autograd, gluon, mx
from tests.federation.tasks.tiny_task import build_model, load_data

__all__ = ["build_model", "evaluate", "load_data", "train"]


def train(net: gluon.Block, data: gluon.data.Dataset, context: Context) -> dict[str, Any]:
    trainer = gluon.Trainer(net.collect_params(), "adam", {"learning_rate": context.learning_rate})
    loss = gluon.loss.SoftmaxCrossEntropyLoss()
    for _ in range(context.epochs):
        for examples, labels in gluon.data.DataLoader(data, context.batch_size, shuffle=True):
            with autograd.record():
                losses = loss(net(examples), labels)
                if context.options.get("prox", True):
                    losses = losses + context.pull(net)
            losses.backward()
            trainer.step(len(examples))
    return {"steps": context.round * context.epochs}


def evaluate(net: gluon.Block, data: gluon.data.Dataset, _: Context) -> tuple[dict[str, Any], float]:
    examples, labels = (mx.nd.array(column) for column in zip(*data, strict=True))
    hits = net(examples).argmax(axis=1) == labels
    return {"hits": hits.mean()}, len(labels) / 2
