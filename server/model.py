"""The global model: its arrays after the newest round, and how arrays without gradients are averaged."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
from flwr.app import Array, ArrayRecord

from fedmx import arrays
from server.frozen_arrays import FrozenArrays
from server.layout import Layout, cast


@dataclass
class GlobalModel:
    """The model after the newest round; the arrays of older rounds are released.

    Attributes:
        arrays: all arrays, in the model's order.
        layout: their shape and kinds.
        frozen: the digest of the frozen arrays, and which nodes have them.
        schema: what the sites agreed on, in JSON; empty if their task does not need it.
    """

    arrays: ArrayRecord
    layout: Layout
    frozen: FrozenArrays = field(default_factory=FrozenArrays)
    schema: str = ""


def average_running(layout: Layout, name: str, updates: Iterable[tuple[Mapping[str, Array], float]]) -> Array:
    """Average an array that changes without gradients, weighted by examples; integers are rounded.

    Args:
        layout: the model's layout.
        name: the array's.
        updates: (arrays, number of examples) of each admitted update.
    """
    updates = list(updates)
    total = sum(weight for _, weight in updates)
    dtype, shape = layout.arrays[name]
    mean = np.zeros(shape, np.float64)
    for record, weight in updates:
        mean += arrays.view(record[name]).astype(np.float64) * (weight / total)
    is_float = np.issubdtype(np.dtype(dtype), np.floating)
    return arrays.pack(cast(mean if is_float else np.rint(mean), dtype))
