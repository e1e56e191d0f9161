"""Files of arrays: complete or absent, and readable by numpy alone."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import Array
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from fedmx.errors import DataError
from server.record import npz
from tests.server.nodes import pack

ADVICE = "; expected a writable folder with room for it"


def save(record: Mapping[str, Array], path: Path) -> None:
    npz.save(npz.members_of(record), path)


DTYPES = st.sampled_from(["float16", "float32", "float64", "int8", "int64", "uint8", "bool"])


@settings(max_examples=50)
@given(
    st.dictionaries(
        st.sampled_from(["0.weight", "1.bias", "running_mean", "a/b", "ü"]),
        DTYPES.flatmap(lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=1, max_dims=3, min_side=0))),
    )
)
def test_a_saved_model_is_read_back_by_numpy_alone(values: dict[str, NDArray[Any]]) -> None:
    with tempfile.TemporaryDirectory() as folder:  # a folder for each of hypothesis' examples
        path = Path(folder) / "model.npz"
        save(pack(values), path)
        with np.load(path, allow_pickle=False) as file:
            assert list(file) == list(values)
            for name, value in values.items():
                assert file[name].dtype == value.dtype
                np.testing.assert_array_equal(file[name], value)


def test_the_same_model_is_the_same_file(tmp_path: Path) -> None:
    record = pack({"w": np.arange(4, dtype=np.float32)})
    save(record, tmp_path / "one.npz")
    save(record, tmp_path / "two.npz")
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()


@pytest.mark.usefixtures("_full_disk")
@pytest.mark.parametrize("size", [20_000, 2_000_000])
def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path, size: int) -> None:
    path = tmp_path / "model.npz"
    save(pack({"w": np.ones(3, np.float32)}), path)
    before = path.read_bytes()
    with pytest.raises(DataError) as caught:
        save(pack({"w": np.ones(size, np.float32)}), path)
    assert str(caught.value) == f"{path}: cannot be written: File too large{ADVICE}"
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_bytes() == before


def test_a_signal_in_the_middle_of_a_write_leaves_nothing(tmp_path: Path) -> None:
    class Stop(BaseException):
        """As the signal handler raises it."""

    class Record(dict[str, Any]):
        def items(self) -> Any:
            yield from super().items()
            raise Stop

    with pytest.raises(Stop):
        save(Record(pack({"w": np.arange(4, dtype=np.float32)})), tmp_path / "model.npz")
    assert list(tmp_path.iterdir()) == []
