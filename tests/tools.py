"""Programs that some tests need and that are not fedmx's own: where they are, or why a test is skipped."""

import os
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def find_tool_python(name: str, variable: str = "REQUIRE_TRACKERS") -> str:
    """Return the Python of a tool's environment, such as that of `.venv-mlflow`, which `make` sets up.

    Without it, the test is skipped, or fails if the environment sets the variable.
    """
    path = ROOT / f".venv-{name}" / "bin" / "python"
    if not path.exists():
        reason = f"no .venv-{name}; `make .venv-{name}/ok` sets it up"
        if os.environ.get(variable):
            pytest.fail(reason)
        pytest.skip(reason)
    return str(path)


def find_program(name: str, variable: str) -> str:
    """Return the path of a program of the system, such as `prometheus`.

    Without it, the test is skipped, or fails if the environment sets the variable, such as
    REQUIRE_PROMETHEUS=1.
    """
    path = shutil.which(name)
    if path is None:
        reason = f"`{name}` is not installed"
        if os.environ.get(variable):
            pytest.fail(reason)
        pytest.skip(reason)
    return path


def find_browser() -> str:
    """Return the path of a browser; without it, the test is skipped, or fails with REQUIRE_BROWSER=1."""
    return shutil.which("google-chrome") or find_program("chromium", "REQUIRE_BROWSER")
