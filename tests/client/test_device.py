"""Which device is found, the error if there is none, and how arrays are copied to it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from client import device
from client.cuda import Driver, load_driver
from client.device import Devices, find_devices, put
from client.mx import mx
from fedmx.errors import SettingsError
from tests.client.given.libraries import compile_driver
from tests.client.given.small import CPU

Show = Callable[..., None]

EXPECTED = "expected a working CUDA device, or DEVICE=cpu"
WITHOUT_CUDA = "this MXNet is built without CUDA; the package mxnet-cu112 has it"
# MXNet's message if a build without CUDA is asked to compute on a card.
NOT_FOR_GPU = "Operator _ones is not implemented for GPU."
without_cuda = pytest.mark.skipif(
    mx.runtime.Features().is_enabled("CUDA"), reason="this MXNet is built with CUDA"
)


@pytest.fixture
def warnings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Collect the warnings."""
    logged: list[str] = []
    monkeypatch.setattr(device, "warn", lambda name, reason: logged.append(f"{name}: {reason}"))
    return logged


@pytest.fixture
def a_build_with_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pretend that this MXNet was built with CUDA; its answers about devices are real."""
    monkeypatch.setattr(device, "_has_cuda", lambda: True)


@pytest.fixture
def show(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Show:
    """Return a function that installs a driver with cards of these capabilities; at first there is none."""

    def load(*cards: tuple[int, int]) -> None:
        library = compile_driver(tmp_path / "driver.so", *cards)
        monkeypatch.setattr(device, "driver", load_driver(str(library)))

    monkeypatch.setattr(device, "driver", Driver(None, "no NVIDIA driver"))
    return load


def refuse(wanted: str, *gpu_index: int) -> str:
    with pytest.raises(SettingsError) as caught:
        find_devices(wanted, gpu_index)
    assert caught.value.exit_code == 2
    return str(caught.value)


def test_device_cpu_ignores_gpu_index(show: Show) -> None:
    show((8, 6))
    assert find_devices("cpu", (7,)).only == (mx.cpu(),)


@without_cuda
def test_auto_is_silently_the_cpu_if_neither_package_nor_machine_has_cuda(
    warnings: list[str], show: Show
) -> None:
    assert find_devices("auto", ()).only == (mx.cpu(),)
    assert warnings == []


@without_cuda
def test_a_package_without_cuda_on_a_machine_with_a_card_warns_once(warnings: list[str], show: Show) -> None:
    show((8, 6), (8, 6))
    devices = find_devices("auto", ())
    assert [devices.for_partition(partition) for partition in (0, 1, None)] == [(mx.cpu(),)] * 3
    assert warnings == [f"training on the CPU: {WITHOUT_CUDA}"]


@without_cuda
def test_device_gpu_without_cuda_is_refused_with_the_reason(show: Show) -> None:
    assert refuse("gpu") == f"DEVICE=gpu: {WITHOUT_CUDA}; {EXPECTED}"


def test_a_build_with_cuda_and_no_driver_warns_once_and_uses_the_cpu(
    a_build_with_cuda: None, warnings: list[str], show: Show
) -> None:
    assert find_devices("auto", ()).only == (mx.cpu(),)
    assert warnings == ["training on the CPU: no NVIDIA driver"]
    assert refuse("gpu") == f"DEVICE=gpu: no NVIDIA driver; {EXPECTED}"


def test_a_card_that_is_too_new_is_refused_with_its_capability_and_the_supported_ones(
    a_build_with_cuda: None, warnings: list[str], show: Show
) -> None:
    show((9, 0))
    reason = (
        "GPU 0 is Card A of compute capability 9.0;"
        " MXNet supports 5.0, 6.0, 7.0, 8.0, 8.6 and later minor versions of each"
    )
    assert refuse("gpu") == f"DEVICE=gpu: {reason}; {EXPECTED}"
    assert find_devices("auto", ()).only == (mx.cpu(),)
    assert warnings == [f"training on the CPU: {reason}"]


@without_cuda
def test_a_card_that_is_listed_but_cannot_compute_is_not_used(
    a_build_with_cuda: None, warnings: list[str], show: Show
) -> None:
    show((8, 6))
    assert find_devices("auto", ()).only == (mx.cpu(),)
    assert warnings == [f"training on the CPU: gpu(0): {NOT_FOR_GPU}"]
    assert refuse("gpu") == f"DEVICE=gpu: gpu(0): {NOT_FOR_GPU}; {EXPECTED}"


@without_cuda
def test_gpu_index_names_the_card_that_is_tried(
    a_build_with_cuda: None, warnings: list[str], show: Show
) -> None:
    show((8, 6), (8, 6), (8, 6))
    assert refuse("gpu", 1) == f"DEVICE=gpu: gpu(1): {NOT_FOR_GPU}; {EXPECTED}"


@pytest.mark.parametrize("wanted", ["auto", "gpu"])
def test_gpu_index_out_of_range_is_refused(a_build_with_cuda: None, show: Show, wanted: str) -> None:
    show((8, 6))
    assert refuse(wanted, 1) == "GPU_INDEX=1: the number of visible GPUs is 1; expected an index below it"


@without_cuda
def test_one_of_several_cards_is_tried_once_when_a_partition_chooses_it(
    a_build_with_cuda: None, warnings: list[str], show: Show
) -> None:
    show((8, 6), (9, 0), (8, 6))
    devices = find_devices("auto", ())
    assert (devices.only, warnings) == ((), [])
    assert [devices.for_partition(partition) for partition in (1, 3)] == [(mx.cpu(),)] * 2
    assert warnings == [f"training on the CPU: gpu(2): {NOT_FOR_GPU}"]
    required = find_devices("gpu", ())
    with pytest.raises(SettingsError, match=r"^DEVICE=gpu: gpu\(0\): Operator"):
        required.for_partition(0)


def test_partitions_are_distributed_round_robin_over_the_devices(warnings: list[str]) -> None:
    devices = Devices([mx.cpu(1), mx.cpu(2), mx.cpu(3)])
    assert devices.only == ()
    given = [devices.for_partition(partition) for partition in (0, 1, 2, 3, 7, None)]
    assert given == [(mx.cpu(index),) for index in (1, 2, 3, 1, 2, 1)]
    assert warnings == []


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [
        ("bool", "float32"),
        ("int8", "int8"),
        ("uint8", "uint8"),
        ("int16", "int64"),
        ("uint16", "int64"),
        ("int32", "int32"),
        (">i4", "int32"),
        ("uint32", "int64"),
        ("int64", "int64"),
        ("uint64", "int64"),
        ("float16", "float16"),
        ("float32", "float32"),
        (">f4", "float32"),
        ("float64", "float32"),
    ],
)
def test_numbers_keep_their_dtype_where_mxnet_computes_with_it(dtype: str, expected: str) -> None:
    rows = (np.arange(600).reshape(300, 2) % 2).astype(dtype)
    copy = put(rows, CPU)
    assert copy.dtype == np.dtype(expected)
    assert (copy.asnumpy() == rows).all()
    assert put(rows, CPU, dtype=np.float32).dtype == np.float32


def test_large_integers_are_copied_exactly() -> None:
    rows = np.array([[2**53 + 1], [-(2**62) - 1]])
    assert (put(rows, CPU).asnumpy() == rows).all()


@pytest.mark.parametrize("shape", [(1,), (256,), (257,), (1, 1), (513, 2, 1)])
def test_any_number_of_rows_of_any_shape_is_copied(shape: tuple[int, ...]) -> None:
    rows = np.arange(np.prod(shape)).reshape(shape)
    copy = put(rows, CPU)
    assert copy.shape == shape
    assert (copy.asnumpy() == rows).all()


def test_chosen_rows_are_copied_in_their_order() -> None:
    rows = np.arange(1000)[:, None] * np.array([[1, -1]])
    chosen: Any = np.random.default_rng(0).permutation(1000)[:600]
    assert (put(rows, CPU, chosen).asnumpy() == rows[chosen]).all()


def test_a_copy_does_not_change_with_its_source() -> None:
    rows = np.zeros((300, 1), np.float32)
    copy = put(rows, CPU)
    rows += 1
    assert not copy.asnumpy().any()


def test_several_devices_are_used_at_once_if_they_are_joint(warnings: list[str]) -> None:
    devices = Devices([mx.cpu(1), mx.cpu(2)], is_joint=True)
    assert devices.only == devices.for_partition(5) == (mx.cpu(1), mx.cpu(2))
    assert warnings == []


@without_cuda
def test_devices_that_do_not_work_are_left_out_if_others_do(warnings: list[str]) -> None:
    assert Devices([mx.cpu(1), mx.gpu(0)], is_joint=True).only == (mx.cpu(1),)
    assert Devices([mx.gpu(0), mx.gpu(1)], is_joint=True).only == (mx.cpu(),)
    assert len(warnings) == 3
