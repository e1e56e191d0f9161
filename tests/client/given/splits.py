"""Labels to split, MNIST's among them, and what a split holds."""

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from client.data.idx import read_idx_dataset
from client.partition import Indices, split_indices
from fedmx.errors import DataError
from fedmx.values import PartitionRule

MNIST = Path(__file__).parents[3] / "data" / "mnist"


@functools.cache
def read_mnist_labels() -> NDArray[np.int64]:
    train, _ = read_idx_dataset(MNIST)
    return train.labels


def as_labels(values: Sequence[int]) -> NDArray[np.int64]:
    return np.array(values, np.int64)


def labels_held(labels: NDArray[np.int64], parts: list[Indices]) -> list[list[int]]:
    return [np.unique(labels[part]).tolist() for part in parts]


def error_of(labels: NDArray[Any], rule: str, number: int) -> str:
    with pytest.raises(DataError) as caught:
        split_indices(labels, PartitionRule.parse(rule), number, seed=0)
    return str(caught.value)


def assert_each_in_exactly_one(parts: list[Indices], number: int, count: int) -> None:
    assert len(parts) == number
    assert all(part.dtype == np.int64 and len(part) for part in parts)
    assert all((np.diff(part) > 0).all() for part in parts)
    assert sorted(np.concatenate(parts).tolist()) == list(range(count))
