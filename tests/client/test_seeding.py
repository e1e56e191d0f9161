"""Seeding: all generators that a task's code may draw from, by seeds of any size that SEED may have."""

import random

import numpy as np
import pytest

from client.mx import mx
from client.seeding import seed_all, seed_call


def draw() -> tuple[float, float, float]:
    """Draw from MXNet's generator, and from the global ones of numpy and Python."""
    return (
        mx.nd.random.uniform(shape=(1,)).asscalar(),
        np.random.random(),  # noqa: NPY002 - the generator that is seeded
        random.random(),  # noqa: S311 - likewise
    )


@pytest.mark.parametrize("seed", [0, 1, 2**32 - 1, 2**32, 2**33 + 1, 2**63 - 1])
def test_a_seed_of_any_size_repeats_the_draws_of_all_generators(seed: int) -> None:
    seed_all(seed)
    first = draw()
    other = draw()
    seed_all(seed)
    assert draw() == first
    assert not set(first) & set(other)


def test_a_call_is_seeded_by_all_of_its_numbers() -> None:
    draws = []
    for seed in ([0, 1, 0], [0, 2, 0], [1, 1, 0], [0, 1, 2**64 - 1], [0, 1, 0]):
        rng = seed_call(seed)
        draws.append((rng.random(), *draw()))
    assert draws[0] == draws[4]
    for column in zip(*draws[:4], strict=True):
        assert len(set(column)) == 4
