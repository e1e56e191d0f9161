"""A node's share of the data as batches: on the device, or read batch by batch."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from client.data import Dataset
from client.data.lazy import AnyDataset
from client.data.mapped_rows import begin_reading
from client.device import as_task_array, choose_dtype, put
from client.mx import gluon, mx

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Batch:
    """Some examples on a device.

    Attributes:
        inputs: of the network, each (n, ...).
        labels: float32 (n, ...), class numbers too, as MXNet's losses take them.
    """

    inputs: tuple[mx.nd.NDArray, ...]
    labels: mx.nd.NDArray

    def __len__(self) -> int:
        return len(self.labels)

    def split(self, devices: Sequence[mx.Context]) -> list["Batch"]:
        """Divide the examples among devices; if there are too few examples, the last devices get none."""
        if len(devices) == 1:
            return [self]
        count = min(len(devices), len(self))
        columns = [
            gluon.utils.split_and_load(array, list(devices[:count]), even_split=False)
            for array in (*self.inputs, self.labels)
        ]
        return [Batch(tuple(parts[:-1]), parts[-1]) for parts in zip(*columns, strict=True)]


def make_batch(inputs: Iterable[mx.nd.NDArray], labels: mx.nd.NDArray) -> Batch:
    """Make a batch of arrays that the task can compute with: MXNet's numpy arrays after `npx.set_np()`."""
    return Batch(tuple(map(as_task_array, inputs)), as_task_array(labels))


class Batches(Protocol):
    """A node's share of a dataset.

    Attributes:
        is_streamed: whether a batch occupies memory from the moment it is read.
    """

    is_streamed: bool

    def __len__(self) -> int: ...

    def batches(self, batch_size: int) -> Iterator[Batch]:
        """Yield every example once, in order; the last batch may be short."""

    def shuffled_batches(self, batch_size: int, rng: np.random.Generator) -> Iterator[Batch]:
        """Yield every example once, in a random order; the last batch may be short."""


class DeviceData:
    """A share on the device.

    Args:
        inputs: of the network, each (n, ...).
        labels: float32 (n, ...).
    """

    is_streamed = False

    def __init__(self, inputs: tuple[mx.nd.NDArray, ...], labels: mx.nd.NDArray) -> None:
        # Batches are taken by MXNet's older functions, which refuse its numpy arrays.
        self.inputs = tuple(array.as_nd_ndarray() for array in inputs)
        self.labels = labels.as_nd_ndarray()

    @classmethod
    def put(cls, dataset: Dataset, device: mx.Context, chosen: Indices | None = None) -> "DeviceData":
        """Copy a dataset to the device, or only the rows with the chosen indices."""
        inputs = tuple(put(rows, device, chosen) for rows in dataset.inputs)
        return cls(inputs, put(dataset.labels, device, chosen, np.float32))

    def __len__(self) -> int:
        return len(self.labels)

    def batches(self, batch_size: int) -> Iterator[Batch]:
        """Yield every example once, in order; the last batch may be short."""
        for start in range(0, len(self), batch_size):
            rows = slice(start, start + batch_size)
            yield make_batch((array[rows] for array in self.inputs), self.labels[rows])

    def shuffled_batches(self, batch_size: int, rng: np.random.Generator) -> Iterator[Batch]:
        """Yield every example once, in a random order; the last batch may be short."""
        order = mx.nd.array(rng.permutation(len(self)), ctx=self.labels.context, dtype="int32")
        for start in range(0, len(self), batch_size):
            chosen = order[start : start + batch_size]
            inputs = (mx.nd.take(array, chosen) for array in self.inputs)
            yield make_batch(inputs, mx.nd.take(self.labels, chosen))


class StreamedData:
    """A share whose batches are read one by one, for data larger than memory.

    Args:
        source: an array dataset of memory maps, or a gluon Dataset of (input, ..., label).
        chosen: the indices of the share's examples.
        device: MXNet's context.
    """

    is_streamed = True

    def __init__(self, source: AnyDataset, chosen: Indices, device: mx.Context) -> None:
        self._source = source
        self._chosen = chosen
        self._device = device

    def __len__(self) -> int:
        return len(self._chosen)

    def batches(self, batch_size: int) -> Iterator[Batch]:
        """Yield every example once, in order; the last batch may be short."""
        yield from self._read(self._chosen, batch_size)

    def shuffled_batches(self, batch_size: int, rng: np.random.Generator) -> Iterator[Batch]:
        """Yield every example once, in a random order; the last batch may be short."""
        yield from self._read(self._chosen[rng.permutation(len(self))], batch_size)

    def _read(self, order: Indices, batch_size: int) -> Iterator[Batch]:
        columns = _list_columns(self._source)
        for start in range(0, len(order), batch_size):
            # The next batch is read from the disk while this one is computed.
            ahead = order[start + (batch_size if start else 0) : start + 2 * batch_size]
            for rows in columns:
                begin_reading(rows, ahead)
            yield read_batch(self._source, order[start : start + batch_size], self._device)


def _list_columns(source: AnyDataset) -> tuple[NDArray[Any], ...]:
    """Return the arrays of a dataset; none if it is a gluon Dataset."""
    return (*source.inputs, source.labels) if isinstance(source, Dataset) else ()


def read_batch(source: AnyDataset, chosen: Indices, device: mx.Context) -> Batch:
    """Copy some examples of a dataset to a device."""
    if isinstance(source, Dataset):
        arrays = (put(rows, device, chosen) for rows in source.inputs)
        return make_batch(arrays, put(source.labels, device, chosen, np.float32))
    columns = list(zip(*(_check_item(source[int(index)]) for index in chosen), strict=True))
    inputs = (_stack(column, device) for column in columns[:-1])
    return make_batch(inputs, _stack(columns[-1], device, np.float32))


def _check_item(item: Any) -> Sequence[Any]:
    if not isinstance(item, tuple | list) or len(item) < 2:  # noqa: PLR2004 - an input and a label
        raise TypeError(
            f"an item of the dataset is of type {type(item).__name__}, expected (input, ..., label);"
            " data of another form need train() and evaluate() of the task's own"
        )
    return item


def _stack(column: Sequence[Any], device: mx.Context, dtype: Any = None) -> mx.nd.NDArray:
    """Stack one value per example, in the dtype that the task chose unless MXNet lacks it."""
    if isinstance(column[0], mx.nd.NDArray):
        stacked = mx.nd.stack(*(value.as_nd_ndarray() for value in column)).as_in_context(device)
        return stacked.astype(dtype or choose_dtype(np.dtype(stacked.dtype)), copy=False)
    rows = np.asarray(column)
    return put(rows, device, dtype=dtype)


class Share(gluon.data.Dataset):  # type: ignore[misc] # MXNet has no types
    """A share as a gluon Dataset, for a task's own loops.

    An item is the tuple of an example's inputs and its label, as the task's dataset has them. A slice is
    arrays, as one of gluon's `ArrayDataset` is, or a list of items if the source has no arrays.
    """

    def __init__(self, source: AnyDataset, chosen: Indices) -> None:
        self._source = source
        self._chosen = chosen
        self._columns = _list_columns(source)

    def __len__(self) -> int:
        return len(self._chosen)

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return self._read_slice(index)
        if not -len(self) <= index < len(self):
            # Ends a `for` loop over the share.
            raise IndexError(index)
        row = int(self._chosen[index])
        if isinstance(self._source, Dataset):
            return tuple(rows[row] for rows in self._read_ahead(np.array([row])))
        return self._source[row]

    def _read_slice(self, index: slice) -> Any:
        rows = self._chosen[index]
        if isinstance(self._source, Dataset):
            return tuple(column[rows] for column in self._read_ahead(rows))
        if isinstance(self._source, gluon.data.ArrayDataset):
            return self._source[rows]
        return [self[position] for position in range(*index.indices(len(self)))]

    def _read_ahead(self, rows: Indices) -> tuple[NDArray[Any], ...]:
        """Return the arrays of the source, after the kernel knows which rows are read."""
        for column in self._columns:
            begin_reading(column, rows)
        return self._columns
