"""`python -m tests.client.given.digests`: a process's threads, and digests of what it computes, as JSON."""

import ctypes
import json
import os
import sys

import numpy as np

from client import model
from client.mx import gluon
from client.task import Task, accuracy
from client.tasks import mnist
from client.training import train
from fedmx import arrays
from tests.client.given.small import how, inputs_of, make_task, put_data

HOW = how(epochs=2, batch_size=50, learning_rate=0.05, momentum=0.9, proximal_mu=0.1)


def build_convolution() -> gluon.HybridBlock:
    net = gluon.nn.HybridSequential()
    net.add(gluon.nn.Conv2D(8, kernel_size=5, activation="relu"), gluon.nn.BatchNorm(), gluon.nn.MaxPool2D(4))
    net.add(gluon.nn.Dropout(0.3), gluon.nn.Dense(10))
    return net


def compute_digests(net: gluon.HybridBlock, task: Task) -> dict[str, str]:
    rng = np.random.default_rng(1)
    examples, labels = rng.random((130, 1, 28, 28), np.float32), rng.integers(10, size=130)
    digests = {}
    for seed in (1, 0):
        model.initialize(net, seed, inputs_of(examples[:2]))
        digests[f"initial-{seed}"] = arrays.sha256(model.read(model.name_parameters(net)))
    net.hybridize(static_alloc=True, static_shape=True)
    train(net, task, put_data(examples, labels), HOW, [0, 1, 0])
    return digests | {"trained": arrays.sha256(model.read(model.name_parameters(net)))}


def main() -> None:
    task = make_task(gluon.loss.SoftmaxCrossEntropyLoss(), accuracy)
    facts = {
        "OMP_NUM_THREADS": os.environ["OMP_NUM_THREADS"],
        "omp_get_max_threads": ctypes.CDLL("libgomp.so.1").omp_get_max_threads(),
        "numpy.bool is a boolean type": getattr(np, "bool", None) in (bool, np.bool_),
        "scipy.stats is imported": "scipy.stats" in sys.modules,
        "dense": compute_digests(mnist.build_model(), task),
        "convolution": compute_digests(build_convolution(), task),
    }
    json.dump(facts, sys.stdout)


if __name__ == "__main__":
    main()
