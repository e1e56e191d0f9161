"""The launcher of a test."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.local.launching import Launcher


@pytest.fixture
def launcher(tmp_path: Path) -> Iterator[Launcher]:
    launcher = Launcher(tmp_path)
    yield launcher
    for process in launcher.started:
        process.kill()
        process.communicate()
    for terminal in launcher.terminals:
        terminal.close()
