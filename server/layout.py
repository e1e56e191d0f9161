"""The shape of a model: named arrays in one order, of which some are trained; and the metrics of its task."""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, MessageType
from numpy.typing import NDArray

from fedmx import arrays, parsing
from fedmx.class_counts import DERIVED, MOST_CLASSES
from server.record.mxnet_params import TYPE_FLAGS

# Characters of an array's name, which becomes a member's name in the model's file.
_LONGEST_NAME = 256
Heads = Mapping[str, tuple[str, tuple[int, ...]]]
"""Name -> (dtype, shape) of arrays, in the model's order."""

ANY = "*"
"""Stands in a description for metrics of any name."""

_TRAINED, _RUNNING, _FROZEN = "trained", "running", "frozen"
_KINDS = (_TRAINED, _RUNNING, _FROZEN)


@dataclass(frozen=True)
class Layout:
    """The shape of a model: its arrays, and the metrics of its task.

    Attributes:
        arrays: name -> (dtype, shape), in the model's order.
        trained: names of the arrays that gradients change.
        metrics: names of the metrics in every reply to an evaluate message, without `num-examples`; None if
            the task's own function returns metrics of any names.
        train_metrics: likewise in every reply to a train message.
        frozen: names of the arrays that keep their initial values.
        classes: the number of classes that an evaluation may count; 0: it counts none.
    """

    arrays: Heads
    trained: frozenset[str]
    metrics: frozenset[str] | None
    train_metrics: frozenset[str] | None
    frozen: frozenset[str] = frozenset()
    classes: int = 0

    @classmethod
    def from_description(cls, description: ConfigRecord) -> "Layout":
        """Parse a node's description of itself.

        Raises:
            ValueError: it is not the description of a node, or a name or dtype in it cannot be used.
        """
        try:
            heads = [json.loads(line) for line in _texts(description, "arrays")]
            layout = cls(
                arrays={name: (dtype, tuple(shape)) for name, dtype, shape, _ in heads},
                trained=frozenset(name for name, _, _, kind in heads if kind == _TRAINED),
                frozen=frozenset(name for name, _, _, kind in heads if kind == _FROZEN),
                metrics=_names(description, "metrics"),
                train_metrics=_names(description, "train-metrics"),
                classes=_read_classes(description),
            )
            _check_kinds([(name, kind) for name, _, _, kind in heads])
            _check_sizes(layout.arrays)
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            raise ValueError(f"it does not describe itself as a node: {error}") from None
        if len(layout.arrays) != len(heads) or not all(map(_is_name, layout.arrays)):
            raise ValueError("its arrays' names are not distinct, printable and free of path separators")
        _check_dtypes(layout.arrays)
        _check_metrics((layout.metrics or frozenset()) | (layout.train_metrics or frozenset()))
        return layout

    def metrics_of(self, step: str) -> frozenset[str] | None:
        """Return the names of the metrics in every reply of a step, `train` or `evaluate`; None: any."""
        return self.train_metrics if step == MessageType.TRAIN else self.metrics

    @property
    def evaluated(self) -> frozenset[str] | None:
        """Names of the metrics of an evaluation, with those that are computed from counts; None: any."""
        return self.metrics if self.metrics is None or not self.classes else self.metrics.union(DERIVED)

    @property
    def running(self) -> list[str]:
        """Names of the arrays that change without gradients: running statistics and counters."""
        return [name for name in self.updated if name not in self.trained]

    @property
    def updated(self) -> Heads:
        """The arrays of an update: all but the frozen ones."""
        return {name: head for name, head in self.arrays.items() if name not in self.frozen}

    @property
    def updated_size(self) -> int:
        """The bytes of the arrays of an update."""
        return sum(map(self.size_of, self.updated))

    @property
    def size(self) -> int:
        """The bytes of all arrays."""
        return sum(map(self.size_of, self.arrays))

    def size_of(self, name: str) -> int:
        """Return the bytes of one array."""
        dtype, shape = self.arrays[name]
        return math.prod(shape) * np.dtype(dtype).itemsize

    def pick_trained(self, record: Mapping[str, Array]) -> ArrayRecord:
        """Return the trained arrays alone, in the model's order; nothing is copied."""
        return arrays.make_record({name: record[name] for name in self.arrays if name in self.trained})

    def leave_out_frozen(self, record: Mapping[str, Array]) -> ArrayRecord:
        """Return the arrays that an update has as well, in the model's order; nothing is copied."""
        return arrays.make_record({name: record[name] for name in self.updated})

    def finish(self, name: str, array: Array) -> Array:
        """Return an array of the new model, in the model's dtype.

        Args:
            name: the array's.
            array: what the aggregation returned.

        Raises:
            ValueError: it has another shape, or is not finite.
        """
        dtype, shape = self.arrays[name]
        values = arrays.view(array)
        if values.shape != shape:
            raise ValueError(f"aggregation gave array {name!r} shape {values.shape}, expected {shape}")
        finished = arrays.hold(array) if values.dtype.name == dtype else arrays.pack(cast(values, dtype))
        if not np.isfinite(arrays.view(finished)).all():
            raise ValueError(f"aggregation gave values that are not finite in array {name!r}")
        return finished

    def merge(self, updated: Mapping[str, Array], frozen: Mapping[str, Array]) -> ArrayRecord:
        """Return all arrays together, in the model's order.

        Args:
            updated: contains the arrays that are not frozen.
            frozen: contains the frozen arrays, which are not changed.

        Raises:
            ValueError: an array is missing.
        """
        for name in self.updated:
            if name not in updated:
                raise ValueError(f"aggregation left out array {name!r}")
        return arrays.make_record(
            {name: frozen[name] if name in self.frozen else updated[name] for name in self.arrays}
        )


def cast(values: NDArray[Any], dtype: str) -> NDArray[Any]:
    """Convert values to another dtype."""
    # A value that is too large becomes infinite, which is checked afterwards.
    with np.errstate(over="ignore"):
        return values.astype(dtype)


def _texts(description: ConfigRecord, key: str) -> list[str]:
    value = description[key]
    if not isinstance(value, list):
        raise TypeError(f"{key} is not a list")
    return [str(item) for item in value]


def _names(description: ConfigRecord, key: str) -> frozenset[str] | None:
    names = frozenset(_texts(description, key))
    return None if names == {ANY} else names


def _read_classes(description: ConfigRecord) -> int:
    # A node that runs another program may lack the entry.
    classes = description.get("classes", 0)
    # Not isinstance: True is an int too.
    if type(classes) is not int or classes not in (0, *range(2, MOST_CLASSES + 1)):
        raise ValueError(f"classes is {str(classes)[:20]}, expected 0 or 2 to {MOST_CLASSES}")
    return classes


def _check_kinds(kinds: Iterable[tuple[str, object]]) -> None:
    for name, kind in kinds:
        if kind not in _KINDS:
            raise ValueError(f"array {name!r} is {str(kind)[:20]!r}, expected {', '.join(_KINDS)}")


def _check_sizes(shapes: Mapping[str, tuple[str, tuple[Any, ...]]]) -> None:
    """Check shapes and dtypes that came over the wire.

    Raises:
        ValueError: a shape is not made of lengths.
        TypeError: numpy does not know a dtype.
    """
    for name, (dtype, shape) in shapes.items():
        if not all(isinstance(length, int) and length >= 0 for length in shape):
            raise ValueError(f"array {name!r} has shape {shape}")
        np.dtype(dtype)


def _is_name(name: object) -> bool:
    """Whether an array may have this name, which becomes a member's name in the model's file."""
    return (
        isinstance(name, str)
        and 0 < len(name) <= _LONGEST_NAME
        and name.isprintable()
        and not name.startswith(".")
        and not set(name) & set("/\\")
    )


def _check_dtypes(heads: Heads) -> None:
    for name, (dtype, _) in heads.items():
        # Compared as text: it came over the wire, and may not be hashable.
        if str(dtype) not in TYPE_FLAGS:
            raise ValueError(
                f"array {name!r} is {str(dtype)[:20]};"
                f" expected a dtype of MXNet: {', '.join(sorted(TYPE_FLAGS))}"
            )


def _check_metrics(names: frozenset[str]) -> None:
    for name in sorted(names):
        try:
            parsing.name(name)
        except ValueError as error:
            raise ValueError(f"metric {name!r}: {error}") from None
