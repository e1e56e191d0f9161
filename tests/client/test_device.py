"""Which device is picked, the words when there is none, and what arrays become on it."""

from typing import Any

import numpy as np
import pytest

from client import device
from client.device import pick_device, put
from client.mx import mx
from fedmx.errors import SettingsError
from tests.client.given.small import CPU

WITHOUT_CUDA = "this MXNet is built without CUDA (package mxnet; mxnet-cu112 has it)"
without_cuda = pytest.mark.skipif(
    mx.runtime.Features().is_enabled("CUDA"), reason="this MXNet is built with CUDA"
)


@pytest.fixture
def warnings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Collect what would be warned of."""
    said: list[str] = []
    monkeypatch.setattr(device, "warn", said.append)
    return said


@pytest.fixture
def a_build_with_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pretend that this MXNet was built with CUDA; everything it says of devices is its own."""
    monkeypatch.setattr(device, "_has_cuda", lambda: True)


def test_the_cpu_is_the_cpu() -> None:
    assert pick_device("cpu") == mx.cpu()


@without_cuda
def test_auto_is_the_cpu_without_a_word_where_the_package_has_no_cuda(warnings: list[str]) -> None:
    assert pick_device("auto") == mx.cpu()
    assert warnings == []


@without_cuda
def test_a_gpu_that_cannot_be_is_refused_with_the_reason() -> None:
    with pytest.raises(SettingsError) as caught:
        pick_device("gpu")
    assert str(caught.value) == f"DEVICE=gpu: {WITHOUT_CUDA}; expected a working CUDA device, or DEVICE=cpu"
    assert caught.value.exit_code == 2


@without_cuda
def test_a_build_with_cuda_and_no_card_warns_once_and_takes_the_cpu(
    a_build_with_cuda: None, warnings: list[str]
) -> None:
    assert pick_device("auto") == mx.cpu()
    assert warnings == ["training on the CPU: no CUDA device is visible"]
    with pytest.raises(SettingsError) as caught:
        pick_device("gpu")
    assert str(caught.value) == (
        "DEVICE=gpu: no CUDA device is visible; expected a working CUDA device, or DEVICE=cpu"
    )


@without_cuda
def test_a_card_that_is_listed_but_cannot_compute_is_no_gpu(
    a_build_with_cuda: None, warnings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mx.context, "num_gpus", lambda: 1)
    assert pick_device("auto") == mx.cpu()
    assert warnings == ["training on the CPU: Operator _ones is not implemented for GPU."]


@pytest.mark.parametrize(
    "dtype",
    ["bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "f2", "f4", "f8"],
)
def test_numbers_of_every_dtype_become_float32(dtype: str) -> None:
    rows = (np.arange(600).reshape(300, 2) % 2).astype(dtype)
    copy = put(rows, CPU)
    assert copy.dtype == np.float32
    assert (copy.asnumpy() == rows).all()


@pytest.mark.parametrize("shape", [(1,), (256,), (257,), (1, 1), (513, 2, 1)])
def test_rows_of_every_number_and_shape_are_copied(shape: tuple[int, ...]) -> None:
    rows = np.arange(np.prod(shape)).reshape(shape)
    copy = put(rows, CPU)
    assert copy.shape == shape
    assert (copy.asnumpy() == rows).all()


def test_chosen_rows_are_copied_in_their_order() -> None:
    rows = np.arange(1000)[:, None] * np.array([[1, -1]])
    chosen: Any = np.random.default_rng(0).permutation(1000)[:600]
    assert (put(rows, CPU, chosen).asnumpy() == rows[chosen]).all()


def test_a_copy_does_not_follow_its_source() -> None:
    rows = np.zeros((300, 1), np.float32)
    copy = put(rows, CPU)
    rows += 1
    assert not copy.asnumpy().any()
