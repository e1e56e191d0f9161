"""A place for tasks and runs of a test."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from client.settings import load_settings
from tests.client.given.saved_runs import Workplace


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
