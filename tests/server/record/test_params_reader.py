"""Files that MXNet wrote, read without MXNet; and everything else refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from client import model
from client.mx import gluon, mx
from fedmx import arrays
from server.record import mxnet_params
from tests.server.nodes import pack, unpack
from tests.server.record.test_mxnet_params import MAKERS, Shared


def save_with_mxnet(net: gluon.Block, path: Path, shape: tuple[int, ...]) -> None:
    net.initialize(mx.init.Normal(0.3))
    net(mx.nd.random.normal(shape=shape).astype(next(iter(net.collect_params().values())).dtype))
    net.save_parameters(str(path))


@pytest.mark.parametrize("kind", MAKERS)
def test_what_save_parameters_writes_is_read_bit_for_bit(kind: str, tmp_path: Path) -> None:
    make, shape = MAKERS[kind]
    net = make()
    save_with_mxnet(net, tmp_path / "net.params", shape)
    read = mxnet_params.parse((tmp_path / "net.params").read_bytes())
    expected = model.read(model.name_parameters(net))
    found = {name: read[name] for name in expected}
    assert arrays.sha256(found) == arrays.sha256(expected)
    # Parameters that two layers share are written once for each.
    assert (set(read) == set(expected)) is not isinstance(net, Shared)


@pytest.mark.parametrize("dtype", sorted(mxnet_params.TYPE_FLAGS))
def test_every_dtype_that_mxnet_writes_is_read(dtype: str, tmp_path: Path) -> None:
    values = np.array([[0, 1, 1], [1, 0, 1]], dtype)
    mx.nd.save(str(tmp_path / "w.params"), {"größe": mx.nd.array(values, dtype=dtype)})
    read = unpack(mxnet_params.parse((tmp_path / "w.params").read_bytes()))
    assert read["größe"].dtype == dtype
    assert read["größe"].tolist() == values.tolist()


def test_arrays_of_numpys_semantics_are_read(tmp_path: Path) -> None:
    with mx.util.np_shape(True), mx.util.np_array(True):
        scalar, empty = mx.np.array(3.0), mx.np.zeros((0, 2))
        mx.npx.save(str(tmp_path / "w.params"), {"scalar": scalar, "empty": empty})
    read = unpack(mxnet_params.parse((tmp_path / "w.params").read_bytes()))
    assert read["scalar"].tolist() == 3.0
    assert read["empty"].shape == (0, 2)


def save_sparse(path: Path) -> None:
    mx.nd.save(str(path), {"w": mx.nd.ones((2, 3)).tostype("row_sparse")})


def save_without_names(path: Path) -> None:
    mx.nd.save(str(path), [mx.nd.ones((2, 3))])


def save_twice(path: Path) -> None:
    mxnet_params.save(pack({"w": np.ones(3, np.float32), "v": np.ones(3, np.float32)}), path)
    data = path.read_bytes()
    path.write_bytes(data[:-1] + b"w")


def save_with_rest(path: Path) -> None:
    mxnet_params.save(pack({"w": np.ones(3, np.float32)}), path)
    path.write_bytes(path.read_bytes() + b"\0")


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (save_sparse, "array 0 is sparse"),
        (save_without_names, "1 arrays and 0 names"),
        (save_twice, "the same name"),
        (save_with_rest, "bytes after its end"),
        (lambda path: path.write_bytes(b"\x93NUMPY" + b"\0" * 100), "not a .params file"),
    ],
)
def test_any_other_file_is_rejected_with_the_reason(
    make: Callable[[Path], Any], expected: str, tmp_path: Path
) -> None:
    make(tmp_path / "w.params")
    with pytest.raises(ValueError, match=expected):
        mxnet_params.parse((tmp_path / "w.params").read_bytes())


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A small file that MXNet wrote."""
    path = tmp_path_factory.mktemp("params") / "net.params"
    save_with_mxnet(gluon.nn.Dense(2), path, (1, 3))
    return path.read_bytes()


def test_a_file_that_is_truncated_anywhere_is_refused(whole: bytes) -> None:
    for length in range(len(whole)):
        with pytest.raises(ValueError, match="truncated"):
            mxnet_params.parse(whole[:length])


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_damage_leads_to_a_value_error_or_other_values_but_never_to_large_allocations(
    whole: bytes, data: st.DataObject
) -> None:
    at = data.draw(st.integers(0, len(whole) - 1))
    length = data.draw(st.sampled_from([1, 4, 8]))
    wrong = data.draw(st.binary(min_size=length, max_size=length) | st.just(b"\xff" * length))
    damaged = whole[:at] + wrong + whole[at + length :]
    try:
        read = mxnet_params.parse(damaged)
    except ValueError:
        return
    assert sum(len(array.data) for array in read.values()) < 2 * len(damaged) + 1000
