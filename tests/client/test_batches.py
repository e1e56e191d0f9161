"""Batches of a share: on the device, or read from memory maps and gluon datasets."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from client.batches import Batches, DeviceData, Share, StreamedData, read_batch
from client.data import Dataset
from client.data.lazy import AnyDataset
from client.mx import gluon, mx
from client.seeding import seed_all
from tests.client.given.small import CPU

COUNT = 7
USERS = np.arange(COUNT, dtype=np.int32)
PIXELS = np.arange(COUNT * 4, dtype=np.uint8).reshape(COUNT, 2, 2)
LABELS = np.arange(COUNT)


def in_memory() -> Dataset:
    return Dataset((USERS, PIXELS), LABELS)


def mapped(folder: Path) -> Dataset:
    np.save(folder / "pixels.npy", PIXELS)
    return Dataset((USERS, np.load(folder / "pixels.npy", mmap_mode="r")), LABELS)


def lazy(_: Path) -> gluon.data.Dataset:
    return gluon.data.ArrayDataset(USERS, PIXELS, LABELS)


def lazy_of_mxnet(_: Path) -> gluon.data.Dataset:
    return gluon.data.ArrayDataset(USERS, mx.nd.array(PIXELS, dtype="uint8"), LABELS)


def open_device(folder: Path) -> Batches:
    return DeviceData.put(in_memory(), CPU, np.array([6, 1, 2, 5, 4]))


def open_stream(source: AnyDataset) -> Batches:
    return StreamedData(source, np.array([6, 1, 2, 5, 4]), CPU)


OPEN = [
    open_device,
    lambda folder: open_stream(mapped(folder)),
    lambda folder: open_stream(lazy(folder)),
    lambda folder: open_stream(lazy_of_mxnet(folder)),
]


@pytest.mark.parametrize("make", OPEN, ids=["device", "mapped", "lazy", "lazy of mxnet"])
def test_a_batch_has_every_input_in_its_dtype_and_labels_in_float32(make: Any, tmp_path: Path) -> None:
    data = make(tmp_path)
    assert len(data) == 5
    sizes = []
    rows: list[int] = []
    for batch in data.batches(2):
        users, pixels = batch.inputs
        assert (users.dtype, pixels.dtype, batch.labels.dtype) == (np.int32, np.uint8, np.float32)
        assert pixels.shape == (len(batch), 2, 2)
        assert (pixels.asnumpy() == PIXELS[users.asnumpy()]).all()
        assert (batch.labels.asnumpy() == LABELS[users.asnumpy()]).all()
        sizes.append(len(batch))
        rows += users.asnumpy().tolist()
    assert (sizes, rows) == ([2, 2, 1], [6, 1, 2, 5, 4])


@pytest.mark.parametrize("make", OPEN, ids=["device", "mapped", "lazy", "lazy of mxnet"])
def test_the_order_depends_on_the_seed_alone(make: Any, tmp_path: Path) -> None:
    def draw(seed: int) -> list[int]:
        batches = make(tmp_path).shuffled_batches(2, np.random.default_rng(seed))
        return [int(user) for batch in batches for user in batch.inputs[0].asnumpy()]

    assert sorted(draw(1)) == [1, 2, 4, 5, 6]
    assert draw(1) == draw(1) == [int(row) for row in np.array([6, 1, 2, 5, 4])[_permute(1)]]
    assert draw(1) != draw(2)


def _permute(seed: int) -> Any:
    return np.random.default_rng(seed).permutation(5)


def test_only_datasets_with_memory_maps_count_as_mapped(tmp_path: Path) -> None:
    assert not in_memory().is_mapped
    assert mapped(tmp_path).is_mapped
    assert Dataset(USERS, mapped(tmp_path).inputs[1]).is_mapped


def test_transforms_run_at_every_access_and_draw_from_seeded_generators() -> None:
    def shift(user: Any, label: Any) -> Any:
        return np.float32(user) + np.random.rand(), label  # noqa: NPY002 - as tasks draw

    data = StreamedData(gluon.data.ArrayDataset(USERS, LABELS).transform(shift), np.arange(COUNT), CPU)

    def read(seed: int) -> list[float]:
        seed_all(seed)
        return [float(value) for batch in data.batches(3) for value in batch.inputs[0].asnumpy()]

    assert read(1) == read(1) != read(2)


def test_floats_of_64_bits_become_single_precision() -> None:
    batch = read_batch(gluon.data.ArrayDataset(np.ones((3, 2)), LABELS[:3]), np.arange(3), CPU)
    assert batch.inputs[0].dtype == np.float32


def test_a_batch_is_divided_among_devices_without_losing_examples() -> None:
    (batch,) = DeviceData.put(in_memory(), CPU).batches(COUNT)
    parts = batch.split([mx.cpu(0), mx.cpu(1), mx.cpu(2)])
    assert [part.labels.context for part in parts] == [mx.cpu(0), mx.cpu(1), mx.cpu(2)]
    assert [int(x) for part in parts for x in part.inputs[0].asnumpy()] == USERS.tolist()
    (single,) = DeviceData.put(in_memory(), CPU, np.array([3])).batches(1)
    assert [len(part) for part in single.split([mx.cpu(0), mx.cpu(1)])] == [1]


@pytest.mark.parametrize("make", [lambda _: in_memory(), mapped, lazy])
def test_a_share_is_a_gluon_dataset_of_its_examples(make: Any, tmp_path: Path) -> None:
    share = Share(make(tmp_path), np.array([5, 0]))
    assert len(share) == 2
    assert [int(user) for user, _, _ in share] == [5, 0]
    assert int(share[-1][0]) == 0
    with pytest.raises(IndexError):
        share[2]
    users, pixels, labels = next(iter(gluon.data.DataLoader(share, batch_size=2)))
    assert (users.dtype, pixels.dtype) == (np.int32, np.uint8)
    assert labels.asnumpy().tolist() == [5, 0]


@pytest.mark.parametrize("make", [lambda _: in_memory(), mapped, lazy])
def test_a_slice_of_a_share_is_arrays_as_a_slice_of_the_dataset_is(make: Any, tmp_path: Path) -> None:
    users, _, labels = Share(make(tmp_path), np.array([5, 0, 2]))[1:]
    assert users.tolist() == [0, 2]
    assert np.asarray(labels).tolist() == [0, 2]


def test_a_slice_of_items_that_are_not_arrays_is_a_list() -> None:
    words = gluon.data.SimpleDataset([["a"], ["b", "c"], ["d"]])
    assert Share(words, np.array([0, 2]))[:] == [["a"], ["d"]]
