"""A place for tasks and runs of a test."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from client.device import Devices
from client.settings import load_settings
from client.task import Task, load_task
from client.trainer import Trainer
from tests.client.given import rehearsals
from tests.client.given.saved_runs import Workplace
from tests.client.given.small import CPU
from tests.client.given.sources import Load


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workplace]:
    """A folder of its own, which is the current one, with DATA_DIR and RUNS_DIR in it."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RUNS_DIR", str(tmp_path / "runs"))
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    load_settings.cache_clear()
    yield Workplace(tmp_path)
    monkeypatch.undo()
    load_settings.cache_clear()


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Load]:
    """Return a function that loads a task of this source."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def write_and_load(source: str) -> Task:
        (tmp_path / "their_task.py").write_text(source)
        return load_task("their_task")

    yield write_and_load
    sys.modules.pop("their_task", None)


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[rehearsals.Start]:
    """Return a function that starts a node whose task is the good source and more."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def write_and_start(source: str) -> Trainer:
        (tmp_path / "their_task.py").write_text(rehearsals.GOOD + source)
        return Trainer(load_task("their_task"), Path(), Devices([CPU]))

    yield write_and_start
    for name in ("their_task", "their_layers"):
        sys.modules.pop(name, None)
