"""Small images and two convolutions, whose weights oneDNN reorders when they are evaluated."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from client.mx import gluon

Sets = tuple[NDArray[np.float32], NDArray[np.int64]]


def build_model() -> gluon.HybridBlock:
    net = gluon.nn.HybridSequential()
    net.add(
        gluon.nn.Conv2D(32, 3, activation="relu"),
        gluon.nn.MaxPool2D(),
        gluon.nn.Conv2D(64, 3),
        gluon.nn.BatchNorm(),
        gluon.nn.GlobalAvgPool2D(),
        gluon.nn.Dense(2),
    )
    return net


def load_data(_: Path) -> tuple[Sets, Sets]:
    return _draw(120, 1), _draw(40, 2)


def _draw(count: int, seed: int) -> Sets:
    images = np.random.default_rng(seed).standard_normal((count, 3, 12, 12)).astype(np.float32)
    return images, (images.mean(axis=(1, 2, 3)) > 0).astype(np.int64)
