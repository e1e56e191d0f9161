"""The labels of gluon datasets, which read items lazily."""

import hashlib
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from client.data import Dataset, ImageFolder, ImageRecords, labels_sha256
from client.data.progress import log_progress
from client.data.record_labels import read_labels
from client.mx import gluon, mx
from fedmx.errors import DataError

LazyDataset: TypeAlias = Any
"""A gluon Dataset of (input, ..., label)."""
AnyDataset: TypeAlias = Dataset | LazyDataset


def list_labels(dataset: AnyDataset, name: str) -> NDArray[Any]:
    """Return the class numbers of a dataset, by which a partition rule divides it.

    If the labels cannot be found alone, every item is read once, and the progress is logged.

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
    labels = known if known is not None else _read_all(dataset, name)
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
    """Return the labels that a gluon dataset, or its source, keeps in memory or in the headers of records.

    Returns:
        None if labels are only found by reading items.
    """
    kept = _find_kept(dataset)
    return _find_unchanged(dataset) if kept is None else kept


def _find_kept(dataset: Any) -> Any:
    # gluon has no public way to ask a transformed dataset for its source, or a dataset for its labels.
    if type(dataset) is gluon.data.dataset._LazyTransformDataset:  # noqa: SLF001
        return _find_kept(dataset._data)  # noqa: SLF001
    if isinstance(dataset, ImageFolder | ImageRecords):
        return dataset.labels
    if isinstance(dataset, gluon.data.vision.ImageFolderDataset):
        return [label for _, label in dataset.items]
    if isinstance(dataset, gluon.data.ArrayDataset) and len(dataset._data) > 1:  # noqa: SLF001
        return dataset._data[-1]  # noqa: SLF001
    if isinstance(dataset, gluon.data.dataset._DownloadedDataset):  # noqa: SLF001
        return dataset._label  # noqa: SLF001
    return None


def _find_unchanged(dataset: Any) -> Any:
    """Return the labels of records, or of some examples of a dataset, unless a transform may change them."""
    if type(dataset) is gluon.data.dataset._LazyTransformDataset:  # noqa: SLF001
        is_first_only = isinstance(dataset._fn, gluon.data.dataset._TransformFirstClosure)  # noqa: SLF001
        return _find_unchanged(dataset._data) if is_first_only else None  # noqa: SLF001
    if type(dataset) is gluon.data.dataset._SampledDataset:  # noqa: SLF001
        known = _to_numpy(_find_unchanged(dataset._dataset))  # noqa: SLF001
        return None if known is None else [known[index] for index in dataset._indices]  # noqa: SLF001
    if getattr(dataset, "_transform", None) is not None:
        return None
    kept = _find_kept(dataset)
    return read_labels(dataset) if kept is None else kept


def digest_labels(train: AnyDataset, test: AnyDataset) -> str:
    """Return a digest that is equal on nodes that hold the same shared dataset.

    It covers all labels of array datasets, and the number of examples of others.
    """
    if isinstance(train, Dataset) and isinstance(test, Dataset):
        return labels_sha256(train, test)
    return hashlib.sha256(f"{len(train)};{len(test)}".encode()).hexdigest()


def _read_all(dataset: LazyDataset, name: str) -> list[Any]:
    """Read every item for its label: a large set takes minutes, so the progress is logged."""
    items = log_progress(
        range(len(dataset)), "reading every example for its label", set=name, examples=len(dataset)
    )
    return [_read_label(dataset, index) for index in items]


def _read_label(dataset: LazyDataset, index: int) -> Any:
    item = dataset[index]
    return item[-1] if isinstance(item, tuple | list) else np.nan


def _to_numpy(value: Any) -> Any:
    return value.asnumpy() if isinstance(value, mx.nd.NDArray) else value
