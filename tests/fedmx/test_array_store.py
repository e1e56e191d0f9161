"""Arrays that arrive in pieces: in memory up to a budget, the others in a file that nothing remains of."""

import contextlib
import gc
import os
import random
import signal
import threading
from pathlib import Path

import numpy as np
import pytest
from flwr.app import Array
from hypothesis import given
from hypothesis import strategies as st

from fedmx import arrays
from fedmx.array_store import ArrayStore, StoredArray
from fedmx.errors import DataError
from tests.fedmx.processes import run, start
from tests.fedmx.test_arrays import Values, assert_same, by_numpy, numbers

BLOCK = 4096
KILOBYTE = np.arange(250, dtype=np.float32)


def put(store: ArrayStore, values: Values, piece: int = 2**20) -> arrays.HeldArray:
    """Store values as they arrive: in pieces of so many bytes."""
    sent = arrays.raw_bytes(arrays.pack(values))
    slot = store.open(values.dtype.name, values.shape)
    while slot.left:
        slot.write(sent[: min(piece, slot.left)])
        sent = sent[piece:]
    return slot.close()


def is_spooled(array: Array) -> bool:
    return isinstance(array, StoredArray)


def find_files(folder: Path) -> list[int]:
    """Return the sizes of this process's open files without a name in a folder."""
    return [status.st_size for status in _find_unnamed(folder)]


def _find_unnamed(folder: Path) -> list[os.stat_result]:
    found = []
    for each in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            target = each.readlink()
            if target.parent == folder and target.name.endswith("(deleted)"):
                found.append(each.stat())
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "runs"
    folder.mkdir()
    return folder


@pytest.mark.parametrize("budget", [0, 2**20], ids=["file", "memory"])
def test_arrays_are_what_arrived(tmp_path_factory: pytest.TempPathFactory, budget: int) -> None:
    folder = tmp_path_factory.mktemp("runs")

    @given(numbers(), st.integers(1, 9))
    def check(values: Values, piece: int) -> None:
        array = put(ArrayStore(budget, folder), values, piece)
        assert is_spooled(array) == (budget < values.nbytes)
        assert (array.dtype, array.shape) == (values.dtype.name, values.shape)
        assert_same(arrays.view(array), values)
        assert_same(array.numpy(), values)
        assert not arrays.view(array).flags.writeable
        assert array == arrays.pack(values)
        assert arrays.digest(array) == arrays.digest(arrays.pack(values))

    check()


@pytest.mark.parametrize("budget", [0, 2**20], ids=["file", "memory"])
@pytest.mark.parametrize(
    "values",
    [np.empty((0, 3), np.float32), np.array(7, np.int64), KILOBYTE.reshape(2, 125).T],
    ids=["empty", "scalar", "not contiguous"],
)
def test_copies_are_stored_likewise(folder: Path, values: Values, budget: int) -> None:
    assert_same(arrays.view(ArrayStore(budget, folder).copy(values)), values)


def test_what_may_be_written_to_changes_nothing(folder: Path) -> None:
    array = put(ArrayStore(0, folder), KILOBYTE)
    got = array.numpy()
    got += 1
    assert_same(array.numpy(), KILOBYTE)


def test_a_slice_of_a_stored_array_has_its_values_in_c_order(folder: Path) -> None:
    array = put(ArrayStore(0, folder), KILOBYTE.reshape(25, 10))
    assert isinstance(array, StoredArray)
    assert array.slice(8, 12).tolist() == [8, 9, 10, 11]
    assert array.slice(250, 250).tolist() == []


def test_only_arrays_of_flowers_are_moved(folder: Path) -> None:
    store = ArrayStore(0, folder)
    here = arrays.pack(KILOBYTE.copy())
    assert store.put(here) is here
    moved = store.put(by_numpy(KILOBYTE))
    assert is_spooled(moved)
    assert_same(arrays.view(moved), KILOBYTE)


def test_what_does_not_fit_into_the_budget_goes_to_the_file(folder: Path) -> None:
    store = ArrayStore(2500, folder)
    held = [put(store, KILOBYTE) for _ in range(4)]
    assert [is_spooled(array) for array in held] == [False, False, True, True]
    # A small one still fits.
    assert not is_spooled(put(store, np.zeros(100, np.float32)))
    assert find_files(folder) == [BLOCK + 1000]


def test_without_a_folder_everything_stays_in_memory() -> None:
    assert not is_spooled(put(ArrayStore(0), KILOBYTE))


def test_space_is_reserved_before_the_first_byte(folder: Path) -> None:
    store = ArrayStore(1000, folder)
    first = store.open("float32", (250,))
    assert is_spooled(put(store, KILOBYTE))
    first.discard()
    assert not is_spooled(put(store, KILOBYTE))


def test_memory_is_free_again_once_nothing_refers_to_it(folder: Path) -> None:
    store = ArrayStore(1000, folder)
    array = put(store, KILOBYTE)
    values = arrays.view(array)[:10]
    del array
    assert is_spooled(put(store, KILOBYTE)), "the values are still used"
    del values
    assert not is_spooled(put(store, KILOBYTE))


def test_memory_in_a_cycle_is_free_after_the_garbage_collection(folder: Path) -> None:
    store = ArrayStore(1000, folder)
    cycle: list[object] = [put(store, KILOBYTE)]
    cycle.append(cycle)
    del cycle
    gc.collect()
    assert not is_spooled(put(store, KILOBYTE))


def test_the_file_has_no_name_and_is_empty_once_nothing_is_stored(folder: Path) -> None:
    store = ArrayStore(0, folder)
    assert find_files(folder) == [], "it is created when it is needed"
    one, other = put(store, KILOBYTE), store.open("float32", (250,))
    other.write(KILOBYTE.data.cast("B"))
    assert (list(folder.iterdir()), find_files(folder)) == ([], [BLOCK + 1000])
    del one
    assert find_files(folder) == [BLOCK + 1000]
    other.discard()
    assert find_files(folder) == [0]
    assert_same(arrays.view(put(store, KILOBYTE)), KILOBYTE)


def test_the_disk_space_of_what_is_gone_is_free_while_other_arrays_stay(folder: Path) -> None:
    store = ArrayStore(0, folder)
    first = put(store, KILOBYTE)
    for _ in range(5):
        put(store, np.zeros(100_001, np.float32))
        put(store, KILOBYTE)
    last = put(store, KILOBYTE)
    (status,) = _find_unnamed(folder)
    # In units of 512 bytes.
    assert 512 * status.st_blocks < 50_000
    assert_same(arrays.view(first), KILOBYTE)
    assert_same(arrays.view(last), KILOBYTE)


def test_the_file_is_closed_with_the_store_and_its_last_array(folder: Path) -> None:
    store = ArrayStore(0, folder)
    array = put(store, KILOBYTE)
    del store
    assert_same(arrays.view(array), KILOBYTE)
    del array
    gc.collect()
    assert find_files(folder) == []


def test_threads_may_store_and_read_at_once(folder: Path) -> None:
    store = ArrayStore(100_000, folder)
    failures: list[str] = []

    def work(seed: int) -> None:
        draw = random.Random(seed)  # noqa: S311 - for a test
        kept: list[tuple[Values, arrays.HeldArray]] = []
        for number in range(100):
            values = np.full(draw.randrange(1, 5000), 1000 * seed + number, np.float32)
            kept.append((values, put(store, values, draw.randrange(1, 9000))))
            if len(kept) > 5:
                expected, array = kept.pop(draw.randrange(len(kept)))
                if not np.array_equal(arrays.view(array), expected):
                    failures.append(f"{seed}: {number}")

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert find_files(folder) == [0]
    assert not is_spooled(put(store, np.zeros(25_000, np.float32))), "all of the memory is free again"


def test_an_array_that_memory_cannot_hold_is_an_error_and_takes_nothing_of_the_budget(folder: Path) -> None:
    store = ArrayStore(2**52, folder)
    with pytest.raises(MemoryError):
        store.open("uint8", (2**52,))
    assert not is_spooled(put(store, KILOBYTE))


def test_a_folder_that_is_missing_is_named(folder: Path) -> None:
    folder.rmdir()
    with pytest.raises(DataError) as caught:
        ArrayStore(0, folder).open("float32", (1,))
    assert str(caught.value).startswith(f"{folder}: cannot be written: ")
    assert "\n" not in str(caught.value)


def test_a_full_disk_is_one_line_and_an_exit_code(folder: Path) -> None:
    """A file may be as large as the process's limit; Python ignores the signal that comes with it."""
    code, out, err = run(
        """
        import gc, resource
        import numpy as np
        from pathlib import Path
        from fedmx.array_store import ArrayStore
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
        store = ArrayStore(0, Path(sys.argv[1]))
        first = store.copy(np.ones(2000, np.float32))
        try:
            store.copy(np.ones(2000, np.float32))
        except errors.DataError:
            show(first.numpy().sum())
        del first
        # From Python 3.13 on, an error that left a context manager refers to itself.
        gc.collect()
        show(store.copy(np.ones(2000, np.float32)).numpy().sum())
        store.copy(np.ones(5000, np.float32))
        """,
        str(folder),
    )
    assert (code, out) == (2, "2000.0\n2000.0\n")
    assert [f"{folder}: cannot be written: File too large" in line for line in err.splitlines()] == [True]


def test_nothing_remains_of_a_program_that_was_killed(folder: Path) -> None:
    process = start(
        """
        import numpy as np
        from pathlib import Path
        from fedmx.array_store import ArrayStore
        array = ArrayStore(0, Path(sys.argv[1])).copy(np.ones(10**6, np.float32))
        show("ready")
        time.sleep(10**6)
        """,
        str(folder),
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert list(folder.iterdir()) == []
