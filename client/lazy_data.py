"""The labels of gluon datasets, which read items lazily."""

import hashlib
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from client.data import Dataset, labels_sha256
from client.mx import gluon, mx
from fedmx.errors import DataError

LazyDataset: TypeAlias = Any
"""A gluon Dataset of (input, ..., label)."""
AnyDataset: TypeAlias = Dataset | LazyDataset


def list_labels(dataset: AnyDataset, name: str) -> NDArray[Any]:
    """Return the class numbers of a dataset, by which a partition rule divides it.

    If the dataset does not keep its labels in memory, every item is read once.

    Args:
        dataset: an array dataset or a gluon Dataset.
        name: its name, for errors.

    Returns:
        int64 (n,), or the labels as they are if an array dataset has others.

    Raises:
        DataError: a label of a lazy dataset is not a class number.
    """
    if isinstance(dataset, Dataset):
        return dataset.labels
    known = find_labels(dataset)
    labels = known if known is not None else [_read_label(dataset, index) for index in range(len(dataset))]
    try:
        numbers = np.array([float(np.asarray(_to_numpy(label)).item()) for label in labels])
    except (ValueError, TypeError):
        numbers = np.array([np.nan])
    if len(numbers) != len(dataset) or not (numbers == np.floor(numbers)).all():
        raise DataError(
            f"{name}: its labels are not class numbers; expected items of (input, ..., class number) for this"
            " PARTITION, or PARTITION=iid or none"
        )
    return numbers.astype(np.int64)


def find_labels(dataset: Any) -> Any:
    """Return the labels that a gluon dataset, or its source, keeps in memory; None if it keeps none."""
    # gluon has no public way to ask a transformed dataset for its source, or a dataset for its labels.
    if type(dataset) is gluon.data.dataset._LazyTransformDataset:  # noqa: SLF001
        return find_labels(dataset._data)  # noqa: SLF001
    if isinstance(dataset, gluon.data.vision.ImageFolderDataset):
        return [label for _, label in dataset.items]
    if isinstance(dataset, gluon.data.ArrayDataset) and len(dataset._data) > 1:  # noqa: SLF001
        return dataset._data[-1]  # noqa: SLF001
    if isinstance(dataset, gluon.data.dataset._DownloadedDataset):  # noqa: SLF001
        return dataset._label  # noqa: SLF001
    return None


def digest_labels(train: AnyDataset, test: AnyDataset) -> str:
    """Return a digest that is equal on nodes that hold the same shared dataset.

    It covers all labels of array datasets, and the number of examples of others.
    """
    if isinstance(train, Dataset) and isinstance(test, Dataset):
        return labels_sha256(train, test)
    return hashlib.sha256(f"{len(train)};{len(test)}".encode()).hexdigest()


def _read_label(dataset: LazyDataset, index: int) -> Any:
    item = dataset[index]
    return item[-1] if isinstance(item, tuple | list) else np.nan


def _to_numpy(value: Any) -> Any:
    return value.asnumpy() if isinstance(value, mx.nd.NDArray) else value
