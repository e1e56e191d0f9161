"""Seeds the generators that MXNet, gluon's transforms and a task's own code draw from."""

import random

import numpy as np

from client.mx import mx


def seed_all(seed: int) -> None:
    """Seed MXNet's generator, and the global ones of numpy and Python."""
    mx.random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - initializers and transforms draw from it
    random.seed(seed)


def seed_call(seed: list[int]) -> np.random.Generator:
    """Seed all generators for one message, and return numpy's generator with the same seed."""
    rng = np.random.default_rng(seed)
    seed_all(int(rng.integers(2**31)))
    return rng
