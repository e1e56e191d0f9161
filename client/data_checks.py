"""Checks of a task's data before the node joins: finds mistakes on which MXNet would train silently."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from client.data import MAX_EXACT, Dataset
from client.data.lazy import AnyDataset
from client.mx import gluon, mx
from client.picked_labels import find_clipped
from client.task import Task, computes_as
from fedmx.errors import DataError
from fedmx.log import event

Sets = tuple[AnyDataset, AnyDataset]
_NAMES = ("training set", "test set")
# A memory map may be larger than memory, and a test needs several times the bytes that it tests.
_BYTES_AT_ONCE = 1 << 24
# float32 represents every integer of this many bytes.
_EXACT_BYTES = 2

_Test = Callable[[NDArray[Any]], NDArray[np.bool_]]


def check_numbers(task_name: str, sets: Sets) -> None:
    """Check that a task's arrays have only finite numbers, and labels only those that float32 can represent.

    Items of lazy datasets are not checked.

    Raises:
        DataError: a number is not; the first one is named.
    """
    for name, data in zip(_NAMES, sets, strict=True):
        if not isinstance(data, Dataset):
            continue
        for kind, rows in (*(("example", rows) for rows in data.inputs), ("label", data.labels)):
            # Examples that are integers keep their dtype.
            is_kept = kind == "example" and rows.dtype.kind in "bui"
            if is_kept:
                continue
            if isinstance(rows, np.memmap):
                event("reading a memory map to check its numbers", set=name, bytes=rows.nbytes)
            if _are_held(rows):
                continue
            found = _find_first(rows, _is_lost)
            if found is not None:
                row, value = found
                raise DataError(
                    f"TASK={task_name}: {name}: {kind} {row} has {value}; expected {_expect(rows)}"
                )


def check_labels(task: Task, outputs: Any, sets: tuple[Dataset, Dataset]) -> None:
    """Check that the loss can use every label.

    MXNet takes a class number out of range for another class. Losses for two classes have no minimum for
    labels other than their two.

    Args:
        task: a loss that is not gluon's may use any labels, unless it picks outputs by them.
        outputs: the network's, for some examples.
        sets: the training and the test set.

    Raises:
        DataError: a label is out of range; the first one is named.
    """
    for name, data in zip(_NAMES, sets, strict=True):
        place = f"TASK={task.name}: {name}: label"
        _check_targets(place, task.loss, data.labels)
        if _are_all_classes(task.loss, outputs, data.labels):
            continue
        found = find_clipped(task.loss, outputs, data.labels)
        if found is not None:
            raise DataError(
                f"{place} {found.row} has class {found.value:g}; expected whole numbers from 0 to"
                f" {found.classes - 1}, since the network has {found.classes} outputs:"
                " renumber the labels in load_data(), or change the number of outputs"
            )


def check_ids(
    task_name: str, net: gluon.Block, sample: Sequence[mx.nd.NDArray], sets: tuple[Dataset, Dataset]
) -> None:
    """Check that embeddings have a row for every number in the examples: MXNet silently clips others.

    Args:
        task_name: the task's name.
        net: not hybridized. Only embeddings whose inputs are the examples themselves are checked.
        sample: the inputs of some examples of the training set.
        sets: the training and the test set.

    Raises:
        DataError: an example is out of range; the first one is named.
    """
    for number, size in _find_embeddings(net, sample):
        for name, data in zip(_NAMES, sets, strict=True):
            found = _find_first(data.inputs[number], _is_outside(size))
            if found is not None:
                row, value = found
                raise DataError(
                    f"TASK={task_name}: {name}: example {row} has {value}; expected whole numbers from 0 to"
                    f" {size - 1}, since the network's embedding has {size} rows"
                )


def _find_embeddings(net: gluon.Block, sample: Sequence[mx.nd.NDArray]) -> list[tuple[int, int]]:
    """Return for each embedding of an input itself the input's number, and the embedding's number of rows."""
    found: list[tuple[int, int]] = []
    hooks: list[Any] = []

    def note_size(block: Any, inputs: tuple[mx.nd.NDArray]) -> None:
        ids = inputs[0]
        for number, array in enumerate(sample):
            if ids.size == array.size and _are_equal(ids, array):
                found.append((number, block.weight.shape[0]))

    def add_hook(block: Any) -> None:
        if isinstance(block, gluon.nn.Embedding):
            hooks.append(block.register_forward_pre_hook(note_size))

    net.apply(add_hook)
    net(*sample)
    for handle in hooks:
        handle.detach()
    return found


def _are_equal(ids: mx.nd.NDArray, array: mx.nd.NDArray) -> bool:
    return bool((ids.asnumpy().reshape(array.shape) == array.asnumpy()).all())


def _check_targets(place: str, loss: Any, labels: NDArray[Any]) -> None:
    """Check the labels of a loss for two classes, which calculates with them."""
    expected, is_wrong = _choose_targets(loss)
    found = None if is_wrong is None else _find_first(labels, is_wrong)
    if found is not None:
        row, value = found
        raise DataError(f"{place} {row} has {value}; expected {expected}, which {type(loss).__name__} needs")


def _choose_targets(loss: Any) -> tuple[str, _Test | None]:
    """Return which labels the loss expects, and the test for others, or None if it accepts any."""
    losses = gluon.loss
    is_logistic = computes_as(loss, losses.LogisticLoss)
    is_binary = is_logistic and loss._label_format == "binary"  # noqa: SLF001 - not public in gluon
    if is_binary or computes_as(loss, losses.SigmoidBinaryCrossEntropyLoss):
        return "numbers from 0 to 1", lambda values: (values < 0) | (values > 1)
    if is_logistic or computes_as(loss, losses.HingeLoss) or computes_as(loss, losses.SquaredHingeLoss):
        return "-1 or 1", lambda values: (values != 1) & (values != -1)
    return "", None


def _are_all_classes(loss: Any, outputs: Any, labels: NDArray[Any]) -> bool:
    """Whether the loss is plain softmax cross entropy and all labels are in range, the case of most tasks."""
    if not computes_as(loss, gluon.loss.SoftmaxCrossEntropyLoss):
        return False
    if not loss._sparse_label:  # noqa: SLF001 - not public in gluon
        return True
    classes = outputs.shape[loss._axis]  # noqa: SLF001 - not public in gluon
    return bool(
        labels.min() >= 0
        and labels.max() < classes
        and (labels.dtype.kind in "bui" or _find_first(labels, lambda v: v != np.floor(v)) is None)
    )


def _are_held(rows: NDArray[Any]) -> bool:
    """Whether float32 can represent all numbers; False if only `_is_lost` can decide."""
    if rows.dtype.kind in "bui" and rows.itemsize <= _EXACT_BYTES:
        return True
    # Both ends of a part are found before the next one is read, so that a large file is read once.
    return all(_is_range_held(some.min(), some.max()) for _, some in _split(rows))


def _is_range_held(least: Any, largest: Any) -> bool:
    if least.dtype.kind in "bui":
        return bool(largest <= MAX_EXACT and least >= -MAX_EXACT)
    with np.errstate(over="ignore"):
        # Minimum and maximum are NaN if any value is.
        return bool(np.isfinite(np.float32(least)) and np.isfinite(np.float32(largest)))


def _split(rows: NDArray[Any]) -> Iterator[tuple[int, NDArray[Any]]]:
    """Yield a few rows at a time, with the index of the first."""
    count = max(1, _BYTES_AT_ONCE * len(rows) // rows.nbytes)
    for start in range(0, len(rows), count):
        yield start, rows[start : start + count]


def _is_outside(size: int) -> _Test:
    """Return the test for numbers that are not an index of so many rows."""
    return lambda values: np.asarray((values < 0) | (values >= size) | (values != np.floor(values)))


def _is_lost(values: NDArray[Any]) -> NDArray[np.bool_]:
    with np.errstate(over="ignore", invalid="ignore"):
        cast = values.astype(np.float32)
        if values.dtype.kind == "f":
            return ~np.isfinite(cast)
        return np.asarray(cast.astype(values.dtype) != values)


def _expect(rows: NDArray[Any]) -> str:
    if rows.dtype.kind == "f":
        return f"finite numbers up to {np.finfo(np.float32).max:.3g}, since training computes in float32"
    return (
        f"integers that float32 can represent, such as all up to {MAX_EXACT};"
        " convert them to floats in load_data() if rounding does no harm"
    )


def _find_first(rows: NDArray[Any], is_wrong: _Test) -> tuple[int, Any] | None:
    """Return the row and the value of the first wrong number."""
    for start, some in _split(rows):
        places = np.argwhere(is_wrong(some))
        if len(places):
            first = tuple(places[0])
            return start + int(first[0]), some[first].item()
    return None
