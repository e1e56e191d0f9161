"""The noise of differential privacy: its distribution, its independence and its extremes.

Bounds on random values are six standard errors wide or wider: a right program leaves them once in 500 million
runs.
"""

import math
import random

import numpy as np
import pytest

from server import privacy

COUNT = 200_000


def test_noise_has_the_moments_of_a_normal_distribution() -> None:
    drawn = privacy.draw_gaussian(COUNT, 3.0) / 3.0
    assert abs(drawn.mean()) < 6 / math.sqrt(COUNT)
    assert abs(drawn.var() - 1) < 6 * math.sqrt(2 / COUNT)
    assert abs((drawn**3).mean()) < 6 * math.sqrt(15 / COUNT)
    assert abs((drawn**4).mean() - 3) < 6 * math.sqrt(96 / COUNT)
    within = (np.abs(drawn) < 1).mean()
    assert abs(within - 0.6826895) < 6 * math.sqrt(0.6827 * 0.3173 / COUNT)


@pytest.mark.parametrize("count", [COUNT, COUNT - 1])
def test_noise_has_the_distribution_function_of_a_normal_distribution(count: int) -> None:
    drawn = np.sort(privacy.draw_gaussian(count, 3.0)) / 3.0
    expected = np.array([math.erfc(-value / math.sqrt(2)) / 2 for value in drawn])
    steps = np.arange(count + 1) / count
    distance = max((steps[1:] - expected).max(), (expected - steps[:-1]).max())
    # The Kolmogorov-Smirnov distance exceeds this at most once in a million runs (Massart 1990).
    assert distance < math.sqrt(math.log(2 / 1e-6) / (2 * count))


def test_values_of_one_draw_are_independent() -> None:
    drawn = privacy.draw_gaussian(COUNT, 1.0)
    halves, neighbours = drawn[: COUNT // 2] * drawn[COUNT // 2 :], drawn[1:] * drawn[:-1]
    for products in (halves, neighbours):  # cosines beside their sines, and each beside the next
        assert abs(products.mean()) < 6 / math.sqrt(len(products))


def test_seeds_neither_repeat_the_noise_nor_are_used_up_by_it() -> None:
    drawn = []
    for _ in range(2):
        np.random.seed(1)  # noqa: NPY002 - the global generator is what must not matter
        random.seed(1)
        drawn.append(privacy.draw_gaussian(8, 1.0))
        after = (np.random.random(), random.random())  # noqa: NPY002, S311 - as above
        np.random.seed(1)  # noqa: NPY002 - as above
        random.seed(1)
        assert after == (np.random.random(), random.random())  # noqa: NPY002, S311 - as above
    assert not np.isin(drawn[0], drawn[1]).any()


@pytest.mark.parametrize("count", [0, 1, 2, 7])
def test_as_many_values_are_drawn_as_were_asked_for(count: int) -> None:
    assert privacy.draw_gaussian(count, 1.0).shape == (count,)


@pytest.mark.parametrize("byte", [b"\0", b"\xff"])
def test_the_extremes_of_entropy_are_finite(monkeypatch: pytest.MonkeyPatch, byte: bytes) -> None:
    monkeypatch.setattr("os.urandom", lambda count: byte * count)
    assert np.isfinite(privacy.draw_gaussian(4, 1.0)).all()
