"""Replaces the trained arrays of an update by what changed in them, in fewer bits (WIRE_DTYPE)."""

from collections.abc import Collection, Sequence

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord

from fedmx import arrays, reduced

_FLOATS = ("float32", "float64")


def reduce_update(
    updated: ArrayRecord, received: ArrayRecord, trained: Collection[str], dtype: str, seed: Sequence[int]
) -> ConfigRecord:
    """Reduce arrays in place; return the record that the server needs to restore them.

    Running statistics keep their dtype, since a variance must not become negative, and so do arrays that did
    not change, since they are not sent at all.

    Args:
        updated: the arrays after training.
        received: the arrays before it.
        trained: names of the arrays that gradients change.
        dtype: WIRE_DTYPE.
        seed: of this message alone.
    """
    names, scales = [], []
    for name, array in updated.items():
        before = received.get(name)
        if name not in trained or before is None or arrays.are_equal(array, before):
            continue
        values = arrays.view(array)
        if values.dtype.name not in _FLOATS:
            continue
        # A change that float32 cannot hold becomes infinite, which the server rejects.
        with np.errstate(over="ignore", invalid="ignore"):
            change = np.subtract(values, arrays.view(before)).astype(np.float32)
        small, scale = reduced.reduce(change, dtype, [*seed, name])
        updated[name] = arrays.pack(small)
        names.append(name)
        scales.append(scale)
    return ConfigRecord({"dtype": dtype, "names": names, "scales": scales})
