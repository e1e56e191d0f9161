"""A node's share of the data: which examples of a set are in it, and how they are loaded."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from client.batches import Batches, DeviceData, Share, StreamedData
from client.data import Dataset
from client.data.lazy import AnyDataset, list_labels
from client.mx import mx
from client.partition import Indices, split_indices, split_test_indices
from fedmx.errors import DataError
from fedmx.values import PartitionRule


@dataclass(frozen=True)
class DataShare:
    """The share of the data that a node works on.

    Attributes:
        rule: how a shared dataset is divided.
        partition: index of the partition; None if the node uses all of its own data.
        num_partitions: the number of partitions.
        seed: the seed of the partitioning.
    """

    rule: PartitionRule
    partition: int | None
    num_partitions: int
    seed: int


def load_rows(data: AnyDataset, chosen: Indices, device: mx.Context, *, is_own: bool) -> Batches | Share:
    """Load a share of a set: for the task's own loop, or for the built-in one."""
    is_in_memory = isinstance(data, Dataset) and not data.is_mapped
    if not is_own:
        return DeviceData.put(data, device, chosen) if is_in_memory else StreamedData(data, chosen, device)
    if not is_in_memory:
        return Share(data, chosen)
    # A copy of the rows, so that the whole set can be freed.
    inputs = tuple(rows[chosen] for rows in data.inputs)
    return Share(Dataset(inputs, data.labels[chosen]), np.arange(len(chosen)))


class Division:
    """How a training and a test set are divided; kept for the next share of the same sets."""

    def __init__(self) -> None:
        self._divided: tuple[DataShare, int, int] | None = None
        self._parts: tuple[Sequence[Indices], Sequence[Indices]] = ((), ())

    def choose_rows(self, train: AnyDataset, test: AnyDataset, share: DataShare) -> tuple[Indices, Indices]:
        """Return the indices of a share's training and test examples."""
        if share.partition is None:
            return np.arange(len(train)), np.arange(len(test))
        number = share.num_partitions
        if not 0 <= share.partition < number:
            raise DataError(
                f"partition {share.partition} of {number}; expected an index below the number of partitions"
            )
        # A set that is read again may have another length.
        divided = replace(share, partition=None), len(train), len(test)
        if divided != self._divided:
            # Only the number of labels counts for a random division, so those of a lazy dataset are not read.
            labels = np.zeros(len(train)) if share.rule.kind == "iid" else list_labels(train, "training set")
            self._parts = (
                split_indices(labels, share.rule, number, share.seed),
                split_test_indices(len(test), number, share.seed),
            )
            self._divided = divided
        chosen, tested = (parts[share.partition] for parts in self._parts)
        return chosen, tested
