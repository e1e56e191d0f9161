"""The global model: named arrays in one order, of which some are trained."""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord
from numpy.typing import NDArray

from fedmx import arrays, parsing
from server.record.mxnet_params import TYPE_FLAGS

# Characters of an array's name, which becomes a member's name in the model's file.
_LONGEST_NAME = 256


@dataclass(frozen=True)
class Layout:
    """The shape of a model: its arrays, and the metrics of its task.

    Attributes:
        arrays: name -> (dtype, shape), in the model's order.
        trained: names of the arrays that gradients change; the others are running statistics and counters.
        metrics: names of the metrics in every reply, `num-examples` not among them.
    """

    arrays: Mapping[str, tuple[str, tuple[int, ...]]]
    trained: frozenset[str]
    metrics: frozenset[str]

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
                trained=frozenset(name for name, _, _, is_trained in heads if is_trained),
                metrics=frozenset(_texts(description, "metrics")),
            )
            _check_sizes(layout.arrays)
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            raise ValueError(f"it does not describe itself as a node: {error}") from None
        if len(layout.arrays) != len(heads) or not all(map(_is_name, layout.arrays)):
            raise ValueError("its arrays' names are not distinct, printable and free of path separators")
        _check_dtypes(layout.arrays)
        _check_metrics(layout.metrics)
        return layout

    @property
    def running(self) -> list[str]:
        """Names of the arrays that are not trained."""
        return [name for name in self.arrays if name not in self.trained]

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
        return ArrayRecord({name: record[name] for name in self.arrays if name in self.trained})

    def merge(self, trained: Mapping[str, Array], running: Mapping[str, Array]) -> ArrayRecord:
        """Return trained and other arrays together, in the model's order and dtypes.

        Raises:
            ValueError: an array is missing, has another shape, or is not finite.
        """
        merged = ArrayRecord()
        for name, (dtype, shape) in self.arrays.items():
            source = trained if name in self.trained else running
            if name not in source:
                raise ValueError(f"aggregation left out array {name!r}")
            values = arrays.view(source[name])
            if values.shape != shape:
                raise ValueError(f"aggregation gave array {name!r} shape {values.shape}, expected {shape}")
            merged[name] = source[name]
            if values.dtype.name != dtype:
                values = _cast(values, dtype)
                merged[name] = arrays.pack(values)
            if not np.isfinite(values).all():
                raise ValueError(f"aggregation gave values that are not finite in array {name!r}")
        return merged


@dataclass
class GlobalModel:
    """The model after the newest round; the arrays of older rounds are released."""

    arrays: ArrayRecord
    layout: Layout


def average_running(layout: Layout, updates: Iterable[tuple[Mapping[str, Array], float]]) -> dict[str, Array]:
    """Average the arrays that are not trained, weighted by examples; integers are rounded.

    Args:
        layout: of the model.
        updates: (arrays, number of examples) of each admitted update.
    """
    updates = list(updates)
    total = sum(weight for _, weight in updates)
    averaged = {}
    for name in layout.running:
        dtype, shape = layout.arrays[name]
        mean = np.zeros(shape, np.float64)
        for record, weight in updates:
            mean += arrays.view(record[name]).astype(np.float64) * (weight / total)
        is_float = np.issubdtype(np.dtype(dtype), np.floating)
        averaged[name] = arrays.pack(_cast(mean if is_float else np.rint(mean), dtype))
    return averaged


def _cast(values: NDArray[Any], dtype: str) -> NDArray[Any]:
    # A value that is too large becomes infinite, which is checked afterwards.
    with np.errstate(over="ignore"):
        return values.astype(dtype)


def _texts(description: ConfigRecord, key: str) -> list[str]:
    value = description[key]
    if not isinstance(value, list):
        raise TypeError(f"{key} is not a list")
    return [str(item) for item in value]


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


def _check_dtypes(heads: Mapping[str, tuple[str, tuple[int, ...]]]) -> None:
    for name, (dtype, _) in heads.items():
        # Compared as text: it came over the wire, and may not be hashable.
        if str(dtype) not in TYPE_FLAGS:
            raise ValueError(
                f"array {name!r} is {str(dtype)[:20]};"
                f" expected a dtype of MXNet: {', '.join(sorted(TYPE_FLAGS))}"
            )


def _check_metrics(names: frozenset[str]) -> None:
    if "loss" not in names:
        raise ValueError("its metrics lack 'loss'")
    for name in sorted(names):
        try:
            parsing.name(name)
        except ValueError as error:
            raise ValueError(f"metric {name!r}: {error}") from None
