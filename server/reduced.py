"""Restores the arrays of an update that travelled in fewer bits (WIRE_DTYPE), before it is checked."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, RecordDict
from numpy.typing import NDArray

from fedmx import arrays, reduced
from fedmx.array_store import ArrayStore
from fedmx.hyperparameters import OFF
from server.layout import Layout
from server.update import records_of


def restore_update(
    content: RecordDict, dtype: str, layout: Layout, before: Mapping[str, Array], store: ArrayStore
) -> str | None:
    """Restore the reduced arrays in place; return why they cannot be restored, or None.

    Args:
        content: of a reply to a train message.
        dtype: WIRE_DTYPE.
        layout: the model's.
        before: the arrays that the node was sent.
        store: receives the restored arrays.
    """
    record = content.config_records.get(reduced.RECORD)
    updates = records_of(content, ArrayRecord)
    if record is None or len(updates) != 1:
        return None
    if dtype == OFF or record.get("dtype") != dtype:
        return f"arrays reduced to {str(record.get('dtype'))[:20]!r}, expected WIRE_DTYPE={dtype}"
    names, scales = record.get("names"), record.get("scales")
    if not isinstance(names, list) or not isinstance(scales, list) or len(names) != len(scales):
        return "reduced arrays without a scale for each"
    for name, scale in zip(names, scales, strict=True):
        if not isinstance(name, str) or name not in layout.trained or name not in updates[0]:
            return f"reduced array {str(name)[:80]!r} is not a trained one in the update"
        try:
            restored = _restore(updates[0][name], before[name], dtype, scale)
        except ValueError as problem:
            return f"reduced array {name!r} {problem}"
        updates[0][name] = store.copy(restored)
    return None


def _restore(array: Array, before: Array, dtype: str, scale: object) -> NDArray[Any]:
    """Return the values of one array after training.

    Raises:
        ValueError: the array or its scale cannot be used; the message is the end of a sentence about it.
    """
    start: NDArray[Any] = arrays.view(before)
    try:
        small = arrays.view(array)
    except ValueError as error:
        raise ValueError(f"cannot be read: {error}") from None
    if small.dtype.name != reduced.DTYPES[dtype] or small.shape != start.shape:
        expected = f"{reduced.DTYPES[dtype]} {start.shape}"
        raise ValueError(f"is {small.dtype.name} {small.shape}, expected {expected}")
    if not isinstance(scale, float) or scale < 0:
        raise ValueError(f"has the scale {str(scale)[:20]}, expected a number that is not negative")
    if not math.isfinite(scale):
        raise ValueError("has values that are not finite")
    with np.errstate(over="ignore", invalid="ignore"):
        # What is not finite is found when the update is checked.
        return np.asarray((start + reduced.restore(small, dtype, scale)).astype(start.dtype))
