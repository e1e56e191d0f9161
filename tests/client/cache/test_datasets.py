"""The cache of decoded datasets: the same values, never those of other data, and never damaged ones."""

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from client.cache import datasets
from client.cache.datasets import with_cache
from client.cache.entry import Entry
from client.data import Dataset, make_dataset
from client.seeding import seed_all
from client.settings import load_settings
from client.task import Task
from client.trainer import Trainer
from fedmx import arrays
from tests.bounds import HANG_S
from tests.client.given import clusters
from tests.client.given.trainers import HOW, share
from tests.federation.programs import ROOT

Sets = tuple[Dataset, Dataset]


class Site:
    """A task whose data is in files, and how often it read them."""

    def __init__(self, folder: Path) -> None:
        self.data_dir = folder / "data"
        self.data_dir.mkdir()
        self.cache = folder / "cache"
        self.reads = 0
        self.rows = self.data_dir / "rows.bin"
        self.rows.write_bytes(np.arange(12, dtype=">f4").tobytes())

    def task(self, load: Callable[[Path], Any] | None = None, **others: Any) -> Task:
        return Task(
            name=clusters.__name__,
            build_model=clusters.build_model,
            load_data=load or self._load,
            loss=None,  # type: ignore[arg-type] # nothing is trained
            metrics=None,  # type: ignore[arg-type]
            **others,
        )

    def load(self, task: Task | None = None, *others: str) -> Sets:
        train, test = with_cache(task or self.task(), self.cache, *others).load_data(self.data_dir)
        assert isinstance(train, Dataset)
        assert isinstance(test, Dataset)
        return train, test

    def list_entries(self) -> list[Path]:
        return [path.parent for path in self.cache.rglob("manifest.json")]

    def _load(self, data_dir: Path) -> Sets:
        self.reads += 1
        rows = np.fromfile(data_dir / "rows.bin", ">f4").reshape(4, 3)
        masks = np.asfortranarray(rows.astype(np.uint8))
        return make_dataset("train", (rows, masks), np.arange(4)), make_dataset("test", rows[:2], rows[:2])


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def test_a_second_load_reads_no_files_and_returns_the_same_bits(site: Site) -> None:
    first, second = site.load(), site.load()
    assert site.reads == 1
    for before, after in zip(first, second, strict=True):
        pairs = zip((*before.inputs, before.labels), (*after.inputs, after.labels), strict=True)
        for one, other in pairs:
            assert (one.dtype, one.shape, one.tobytes()) == (other.dtype, other.shape, other.tobytes())
        # A map would be read batch by batch, which is another path.
        assert not after.is_mapped


@pytest.mark.parametrize("change", ["content", "time", "name", "new file", "options", "setting"])
def test_other_data_or_options_are_loaded_anew(site: Site, change: str) -> None:
    site.load()
    task, others = site.task(), []
    if change == "content":
        site.rows.write_bytes(np.ones(12, ">f4").tobytes())
    elif change == "time":
        os.utime(site.rows, ns=(1, 1))
    elif change == "name":
        site.rows.rename(site.rows.with_name("other.bin"))
        site.rows.symlink_to("other.bin")
    elif change == "new file":
        (site.data_dir / "more").mkdir()
        (site.data_dir / "more" / "rows.bin").touch()
    elif change == "options":
        task = replace(task, options={"size": 2})
    else:
        others = ["native"]
    expected = np.fromfile(site.rows, ">f4").reshape(4, 3)
    train, _ = site.load(task, *others)
    assert site.reads == 2
    assert (train.examples == expected).all()
    assert len(site.list_entries()) == 1


def test_another_source_of_the_task_is_loaded_anew(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.load()
    source = site.data_dir.parent / "clusters.py"
    source.write_bytes(Path(clusters.__file__).read_bytes() + b"\n# changed\n")
    monkeypatch.setattr(clusters, "__file__", str(source))
    site.load()
    assert site.reads == 2


@pytest.mark.parametrize("file", ["train-0.npy", "train-labels.npy", "manifest.json"])
@pytest.mark.parametrize("damage", ["a bit", "the end", "all", "emptied"])
def test_a_damaged_entry_is_never_used_and_is_replaced(site: Site, file: str, damage: str) -> None:
    expected = site.load()[0].examples.copy()
    (entry,) = site.list_entries()
    path = entry / file
    content = bytearray(path.read_bytes())
    content[-2] ^= 4
    damaged = {"a bit": bytes(content), "the end": bytes(content[:-3]), "emptied": b"", "all": b"{}"}
    path.write_bytes(damaged[damage])
    assert (site.load()[0].examples == expected).all()
    assert site.reads == 2
    assert (site.load()[0].examples == expected).all()
    assert site.reads == 2


def test_files_that_change_while_they_are_read_are_not_kept(site: Site) -> None:
    def load(data_dir: Path) -> Sets:
        sets = site.task().load_data(data_dir)
        site.rows.write_bytes(np.ones(12, ">f4").tobytes())
        return sets

    site.load(site.task(load))
    assert site.list_entries() == []


def test_maps_and_lazy_datasets_are_not_kept(site: Site, tmp_path: Path) -> None:
    np.save(tmp_path / "rows.npy", np.ones((4, 3), np.float32))
    mapped = np.load(tmp_path / "rows.npy", mmap_mode="r")
    task = site.task(lambda _: (Dataset(mapped, np.arange(4)), Dataset(mapped, np.arange(4))))
    train, _ = site.load(task)
    assert train.is_mapped
    lazy = [(np.ones(3), 0)]
    assert with_cache(site.task(lambda _: (lazy, lazy)), site.cache).load_data(site.data_dir) == (lazy, lazy)
    assert site.list_entries() == []


def test_a_folder_with_very_many_files_is_not_looked_at(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets, "_MOST_FILES", 1)
    site.load()
    assert len(site.list_entries()) == 1
    (site.data_dir / "more").touch()
    site.load()
    site.load()
    assert site.reads == 3


def test_a_folder_that_cannot_be_written_costs_a_warning_and_no_data(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    site.cache.write_text("a file")
    train, _ = site.load()
    assert len(train) == 4
    assert "DATA_CACHE" in caplog.text


def test_a_folder_in_which_other_users_can_write_is_not_trusted(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    site.load()
    site.list_entries()[0].parent.chmod(0o770)
    train, _ = site.load()
    assert (site.reads, len(train)) == (2, 4)
    assert "another user can write" in caplog.text
    site.load()
    assert site.reads == 3


def test_remains_of_a_killed_writer_are_removed_later_and_those_of_a_living_one_stay(site: Site) -> None:
    site.load()
    slot = site.list_entries()[0].parent
    old, new = slot / ".old", slot / ".new"
    for folder in (old, new):
        folder.mkdir()
    os.utime(old, (1, 1))
    site.rows.write_bytes(np.ones(12, ">f4").tobytes())
    site.load()
    assert sorted(path.name for path in slot.iterdir() if path.name.startswith(".")) == [".new"]


def test_writers_at_the_same_time_leave_one_complete_entry(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; import numpy as np; from client.cache.entry import Entry;"
        "from client.data import Dataset; data = Dataset(np.arange(400_000.0), np.arange(400_000));"
        "entry = Entry(Path(sys.argv[1]), 'key');"
        "[entry.write([data, data]) or entry.read() for _ in range(2)]"
    )
    arguments = [sys.executable, "-c", script, str(tmp_path / "slot")]
    writers = [subprocess.Popen(arguments, cwd=ROOT) for _ in range(2)]
    assert [writer.wait(HANG_S) for writer in writers] == [0, 0]
    kept = Entry(tmp_path / "slot", "key").read()
    assert kept is not None
    assert (kept[0].labels == np.arange(400_000)).all()
    assert [path.name for path in (tmp_path / "slot").iterdir()] == ["key"]


def test_a_model_trained_on_kept_data_has_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data").mkdir()

    def train() -> str:
        load_settings.cache_clear()
        trainer = Trainer.from_settings(load_settings())
        trainer.load_partition(share())
        trained, _ = trainer.train(trainer.initial_arrays(0), HOW, 1, [0])
        return arrays.sha256(trained)

    monkeypatch.setenv("TASK", clusters.__name__)
    monkeypatch.setenv("DEVICE", "cpu")
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "data"))
    without = train()
    monkeypatch.setenv("DATA_CACHE", str(tmp_path / "cache"))
    digests = [train(), train()]
    seed_all(0)
    load_settings.cache_clear()
    assert digests == [without, without]
    assert len(list((tmp_path / "cache").rglob("manifest.json"))) == 1
