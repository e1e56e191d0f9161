"""Splits a dataset into a training and a test set, in the same way at every call."""

from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from fedmx.errors import SettingsError

Rows: TypeAlias = NDArray[np.int64]

# Which rows are in the test set must not differ between runs.
_SEED = 0


def split_rows(count: int, test_share: float) -> tuple[Rows, Rows]:
    """Choose rows to train and to test with, in order; with a share of 0, or one row, both are all rows.

    Raises:
        SettingsError: the share is out of range.
    """
    _check(test_share)
    rows = np.arange(count)
    if not test_share or count == 1:
        return rows, rows
    order = np.random.default_rng(_SEED).permutation(count)
    tested = _count_tested(count, test_share)
    return np.sort(order[tested:]), np.sort(order[:tested])


def split_classes(
    labels: NDArray[np.int64], test_share: float, order: Callable[[Rows], Sequence[int] | Rows] | None = None
) -> tuple[Rows, Rows]:
    """Choose rows of each class to train and to test with, in order; with a share of 0, both are all rows.

    Args:
        labels: class numbers (n,).
        test_share: the share of a class to test with; at least one row, unless the class has no other.
        order: sorts the rows of a class, of which the first are tested; None: at random.

    Raises:
        SettingsError: the share is out of range.
    """
    _check(test_share)
    if not test_share:
        return np.arange(len(labels)), np.arange(len(labels))
    shuffle = np.random.default_rng(_SEED).permutation
    is_tested = np.zeros(len(labels), np.bool_)
    for number in np.unique(labels):
        own = np.flatnonzero(labels == number)
        ordered = shuffle(own) if order is None else order(own)
        is_tested[list(ordered[: _count_tested(len(own), test_share)])] = True
    return np.flatnonzero(~is_tested), np.flatnonzero(is_tested)


def _check(test_share: float) -> None:
    if not 0 <= test_share < 1:
        raise SettingsError(f"test_share={test_share}: expected a share of the rows from 0 to below 1")


def _count_tested(count: int, test_share: float) -> int:
    return min(max(1, round(count * test_share)), count - 1)
