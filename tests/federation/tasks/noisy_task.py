"""The tiny task, read item by item through random transforms: dropout, running statistics, a frozen layer."""

import random
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from client.mx import gluon, mx
from tests.federation.tasks import tiny_task

FROZEN = ["0.*"]


def build_model() -> gluon.HybridBlock:
    net = gluon.nn.HybridSequential()
    net.add(gluon.nn.Dense(16), gluon.nn.BatchNorm(), gluon.nn.Dropout(0.2), gluon.nn.Dense(4))
    return net


def load_data(data_dir: Path) -> tuple[gluon.data.Dataset, gluon.data.Dataset]:
    train, test = (gluon.data.ArrayDataset(*part) for part in tiny_task.load_data(data_dir))
    return train.transform_first(_disturb), test


def _disturb(example: NDArray[np.float32]) -> mx.nd.NDArray:
    # From each generator that a script may use.
    noise = mx.nd.random.normal(0, 0.1, example.shape)
    shift = np.random.normal(0, 0.1)  # noqa: NPY002 - see above
    factor = random.uniform(0.9, 1.1)  # noqa: S311 - see above
    return mx.nd.array(example) * factor + noise + float(shift)
