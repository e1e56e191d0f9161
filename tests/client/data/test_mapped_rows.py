"""Which parts of a memory map the kernel reads from the disk."""

import ctypes
import mmap
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from client.batches import Share, StreamedData
from client.data import Dataset
from client.data.mapped_rows import begin_reading
from tests.client.given.small import CPU

PAGE = mmap.PAGESIZE
ROW = 3 * PAGE
COUNT = 400


@pytest.fixture
def rows(tmp_path: Path) -> NDArray[np.uint8]:
    """A memory map of rows of three pages, none of which is in the page cache."""
    path = tmp_path / "rows"
    numbers = (np.arange(COUNT) % 256).astype(np.uint8)
    path.write_bytes(np.repeat(numbers, ROW).tobytes())
    file = os.open(path, os.O_RDONLY)
    os.fsync(file)
    os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(file)
    mapped = np.memmap(path, np.uint8, "r", shape=(COUNT, ROW))
    if find_cached(mapped):
        pytest.skip("this file system keeps its files in memory")
    return mapped


def find_cached(rows: NDArray[np.uint8]) -> set[int]:
    """Return the rows of which a page is in the page cache."""
    pages = COUNT * ROW // PAGE
    vector = (ctypes.c_ubyte * pages)()
    found = ctypes.CDLL(None).mincore(ctypes.c_void_p(rows.ctypes.data), ctypes.c_size_t(COUNT * ROW), vector)
    assert found == 0
    return {page * PAGE // ROW for page in range(pages) if vector[page] & 1}


def stream(rows: NDArray[np.uint8]) -> Any:
    return StreamedData(Dataset(rows, np.arange(COUNT)), np.arange(COUNT), CPU)


def test_only_the_rows_of_this_batch_and_the_next_are_read(rows: NDArray[np.uint8]) -> None:
    order = np.random.default_rng(7).permutation(COUNT)
    batches = stream(rows).shuffled_batches(4, np.random.default_rng(7))
    for number in range(3):
        batch = next(batches)
        assert batch.inputs[0].asnumpy()[:, 0].tolist() == [row % 256 for row in order[4 * number :][:4]]
        cached = find_cached(rows)
        assert set(order[: 4 * number + 4]) <= cached <= set(order[: 4 * number + 8])


def test_an_item_of_a_share_reads_its_row_alone(rows: NDArray[np.uint8]) -> None:
    share = Share(Dataset(rows, np.arange(COUNT)), np.array([300, 9, 200]))
    assert share[-1][0][0] == 200
    assert find_cached(rows) == {200}
    assert share[:2][0][:, 0].tolist() == [300 % 256, 9]
    assert find_cached(rows) == {200, 300, 9}


def test_a_part_of_a_map_is_advised_within_its_bounds(rows: NDArray[np.uint8]) -> None:
    part = rows[100:110]
    begin_reading(part, np.array([9, 0, 1]))
    assert part[[9, 0, 1], 0].tolist() == [109, 100, 101]
    assert find_cached(rows) == {100, 101, 109}


@pytest.mark.parametrize(
    "make",
    [np.array, lambda rows: rows + 1, lambda rows: rows[::2], lambda rows: rows.T],
    ids=["copy", "result", "every second row", "transposed"],
)
def test_arrays_that_are_no_map_of_whole_rows_stay_as_they_are(make: Any, rows: NDArray[np.uint8]) -> None:
    array = make(rows)
    before = array[3].copy()
    begin_reading(array, np.array([3]))
    assert (array[3] == before).all()
