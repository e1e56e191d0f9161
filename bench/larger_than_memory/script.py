"""`python -m bench.larger_than_memory.script FOLDER KIND NETWORK EPOCHS WORKERS`: the task's plain script.

Prints the number of examples, then the seconds of every epoch.
"""

import sys
import time
from pathlib import Path

import numpy as np

from bench.larger_than_memory import sets, task
from client.mx import autograd, gluon, mx

BATCH_SIZE = 32
LEARNING_RATE = 0.01


def main(folder: str, kind: str, network: str, epochs: str, workers: str) -> None:
    """Train, as a script without a federation does."""
    train_set, _ = sets.open_sets(Path(folder), kind)
    if kind == "memmap":
        train_set = gluon.data.ArrayDataset(*train_set)
    print(len(train_set), flush=True)
    loader = gluon.data.DataLoader(train_set, BATCH_SIZE, shuffle=True, num_workers=int(workers))
    net = task.build_model({"network": network})
    net.initialize(mx.init.Xavier())
    net.hybridize(static_alloc=True, static_shape=True)
    loss = gluon.loss.SoftmaxCrossEntropyLoss()
    trainer = gluon.Trainer(net.collect_params(), "sgd", {"learning_rate": LEARNING_RATE})
    for _ in range(int(epochs)):
        started = time.perf_counter()
        total, correct = mx.nd.zeros(1), mx.nd.zeros(1)
        for batch in loader:
            # Batches of worker processes are in shared memory.
            inputs, labels = (array.as_in_context(mx.cpu()) for array in batch)
            with autograd.record():
                outputs = net(inputs)
                losses = loss(outputs, labels)
            losses.backward()
            trainer.step(len(labels))
            total += losses.sum()
            correct += (outputs.argmax(axis=1) == labels.astype(np.float32)).sum()
        total.asscalar()
        print(f"{time.perf_counter() - started:.4f}", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
