"""Averages of updates, one array of one update at a time, so that memory does not grow with nodes.

The arithmetic is that of Flower's FedAvg: each value times its share of the weights, the first product stored
and the others added to it in the fixed order. A sum that began at zero would turn -0.0 into 0.0, and one that
is divided at its end differs in the last bit.
"""

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from flwr.app import Array
from numpy.typing import NDArray

from fedmx import arrays
from fedmx.array_store import StoredArray
from server.update import Update

SLICE = 1 << 18
"""Values of each update that are in memory at a time, where all updates have to be."""

# Values at a time, whose products fit into the processor's cache.
_CACHED = 1 << 16


def average(updates: Sequence[Update], name: str, weights: Sequence[float]) -> NDArray[Any]:
    """Return the weighted mean of one array of all updates.

    Args:
        updates: in the fixed order.
        name: the array's.
        weights: of the updates; they need not add up to 1.
    """
    total = sum(weights)
    shares = [weight / total for weight in weights]
    # The values of an update on disk stay in memory while something refers to them. They are not bound to a
    # name here, since it would keep one update's values while the next update's are read.
    mean = np.asarray(_view(updates[0], name) * shares[0], order="C")
    for update, share in zip(updates[1:], shares[1:], strict=True):
        _add_product(mean, _view(update, name), share)
    return mean


def _view(update: Update, name: str) -> NDArray[Any]:
    return arrays.view(update.arrays[name])


def _add_product(mean: NDArray[Any], values: NDArray[Any], share: float) -> None:
    """Add each value times a share, in slices whose products stay in the processor's cache."""
    sums, terms = mean.reshape(-1), values.reshape(-1)
    for start in range(0, sums.size, _CACHED):
        sums[start : start + _CACHED] += terms[start : start + _CACHED] * share


def cut(updates: Sequence[Update], name: str) -> Iterator[list[Array]]:
    """Yield one array of all updates in slices: of each update the same values, in C order.

    An array that is not larger than a slice comes whole, in its own shape, and no slice has a single value:
    numpy sums one value of many updates in another order than several.
    """
    whole = [update.arrays[name] for update in updates]
    size = int(np.prod(whole[0].shape))
    if size <= SLICE + 1:
        yield whole
        return
    for start, stop in itertools.pairwise([*range(0, size - 1, SLICE), size]):
        yield [_slice(array, start, stop) for array in whole]


def _slice(array: Array, start: int, stop: int) -> Array:
    if isinstance(array, StoredArray):
        return arrays.pack(array.slice(start, stop))
    return arrays.pack(arrays.view(array).reshape(-1)[start:stop])
