"""What a checked dataset is: examples and labels as numpy arrays, and the digest of its labels.

`client.data.idx` reads one from IDX files, `client.partition` divides one among the nodes, and
`client.data.lazy` knows datasets that are not arrays.
"""

import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedmx.errors import DataError

# float32, to which all numbers are converted on the device, represents every integer up to here.
MAX_EXACT = 2**24
# Not long double: it has padding bytes of no meaning, and MXNet does not have it.
_NUMERIC = "?bBhHiIlLqQefd"


class Dataset:
    """Examples and their labels, row by row; made by `make_dataset`, which checks them.

    Args:
        examples: (n, ...) of any numeric dtype; a tuple of such arrays for several inputs.
        labels: (n, ...), one row per example. Class numbers are int64 (n,): whole numbers of any dtype, and
            whole floats up to `MAX_EXACT`. All others keep their dtype, such as targets float32 (n,) or
            masks uint8 (n, rows, columns).

    Attributes:
        inputs: the network's inputs, at least one, each (n, ...).
    """

    def __init__(self, examples: NDArray[Any] | tuple[NDArray[Any], ...], labels: NDArray[Any]) -> None:
        self.inputs: tuple[NDArray[Any], ...] = examples if isinstance(examples, tuple) else (examples,)
        self.labels = labels

    @property
    def examples(self) -> NDArray[Any]:
        """The first input."""
        return self.inputs[0]

    @property
    def is_mapped(self) -> bool:
        """Whether an array is a memory map, which may be larger than memory."""
        return any(isinstance(rows, np.memmap) for rows in (*self.inputs, self.labels))

    def __len__(self) -> int:
        """Return the number of examples."""
        return len(self.labels)


def make_dataset(
    name: str, examples: NDArray[Any] | tuple[NDArray[Any], ...], labels: NDArray[Any]
) -> Dataset:
    """Check that examples and labels belong together.

    Args:
        name: what an error calls the dataset, such as `training set`.
        examples: (n, ...) numbers, which are not changed; a tuple of such arrays for several inputs.
        labels: (n, ...) numbers; class numbers of any dtype, as many loaders return them as float32.

    Raises:
        DataError: one is not a numpy array of numbers, the counts differ, or there are no numbers.
    """
    inputs = examples if isinstance(examples, tuple) else (examples,)
    if not inputs:
        raise DataError(f"{name}: no inputs; expected at least one array of examples")
    for number, rows in enumerate(inputs):
        _check_rows(name, "examples" if len(inputs) == 1 else f"input {number}", rows)
    _check_rows(name, "labels", labels)
    for rows in inputs:
        if len(rows) != len(labels):
            raise DataError(
                f"{name}: {len(rows)} examples, but {len(labels)} labels; expected one label per example"
            )
    if labels.ndim > 1:
        return Dataset(inputs, labels)
    # NaN, infinity and what int64 cannot represent change in the cast, and the comparison finds them.
    with np.errstate(invalid="ignore"):
        whole = labels.astype(np.int64)
    # A Python float, since numpy 2 would convert MAX_EXACT to the dtype of the labels, where it may overflow.
    are_exact = labels.dtype.kind in "bui" or float(abs(labels).max()) <= MAX_EXACT
    are_classes = are_exact and (whole == labels).all()
    return Dataset(inputs, whole if are_classes else labels)


def are_class_numbers(labels: NDArray[Any]) -> bool:
    """Whether a dataset's labels are class numbers, int64 (n,)."""
    return labels.ndim == 1 and labels.dtype == np.int64


def labels_sha256(train: Dataset, test: Dataset) -> str:
    """Return a digest of the labels of both sets: nodes that hold the same shared dataset have the same.

    It does not depend on byte order nor, for class numbers, on the dtype in which they were stored.

    Returns:
        SHA-256 in hexadecimal. Each set contributes `DTYPE SHAPE;`, which fixes the number of bytes that
        follow, and its labels, row by row in little-endian order.
    """
    digest = hashlib.sha256()
    for labels in (train.labels, test.labels):
        dtype = labels.dtype.newbyteorder("<")
        digest.update(f"{dtype.str} {labels.shape};".encode())
        digest.update(np.ascontiguousarray(labels, dtype).data)
    return digest.hexdigest()


def _check_rows(name: str, kind: str, array: NDArray[Any]) -> None:
    # A task may return lists or MXNet arrays, whose conversion to numpy would fail or copy here.
    if not isinstance(array, np.ndarray):
        raise DataError(f"{name}: {kind} are of type {type(array).__name__}; expected a numpy array")
    if array.dtype.char not in _NUMERIC:
        raise DataError(f"{name}: {kind} are of dtype {array.dtype}; expected numbers of at most 64 bits")
    if not array.ndim:
        raise DataError(f"{name}: {kind} have shape (); expected one row per example")
    if not array.size:
        raise DataError(f"{name}: {kind} have shape {array.shape}; expected at least one number")
