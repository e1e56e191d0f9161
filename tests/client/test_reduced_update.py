"""A client reduces what training changed, and nothing else."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from client.reduced_update import reduce_update
from fedmx import arrays, reduced


@pytest.mark.parametrize("dtype", reduced.DTYPES)
def test_trained_arrays_are_reduced_and_others_keep_their_values(dtype: str) -> None:
    before: dict[str, NDArray[Any]] = {
        "weight": np.linspace(-1, 1, 50, dtype=np.float32),
        "fixed": np.ones(4, np.float32),
        "small": np.ones(4, np.float16),
        "mean": np.zeros(4, np.float32),
        "steps": np.array([3]),
    }
    after = {
        name: values if name == "fixed" else values + values.dtype.type(1) for name, values in before.items()
    }
    received, updated = (
        arrays.make_record({name: arrays.pack(values.copy()) for name, values in named.items()})
        for named in (before, after)
    )
    record = reduce_update(updated, received, {"weight", "fixed", "small"}, dtype, [0, 1, 2])
    assert record["dtype"] == dtype
    assert record["names"] == ["weight"]
    scales = record["scales"]
    assert isinstance(scales, list)
    small = arrays.view(updated["weight"])
    assert small.dtype.name == reduced.DTYPES[dtype]
    change = reduced.restore(small, dtype, float(scales[0]))
    np.testing.assert_allclose(change, np.ones(50), rtol=0.02)
    for name in ("fixed", "small", "mean", "steps"):
        np.testing.assert_array_equal(arrays.view(updated[name]), after[name])


def test_the_owner_of_the_data_decides_how_values_are_rounded() -> None:
    received = arrays.make_record({"weight": arrays.pack(np.zeros(100, np.float32))})
    sent = []
    for owner in (0, 0, 1):
        updated = arrays.make_record({"weight": arrays.pack(np.linspace(-1, 1, 100, dtype=np.float32))})
        reduce_update(updated, received, {"weight"}, "int8", [0, 1, owner])
        sent.append(arrays.view(updated["weight"]).tobytes())
    assert sent[0] == sent[1] != sent[2]
