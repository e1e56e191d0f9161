"""Collects the code that workers on other machines need: fedmx's packages and the task's, and no data."""

import shutil
from importlib.util import find_spec
from pathlib import Path

from fedmx.errors import SettingsError
from local.plan import ROOT

_PACKAGES = ("client", "fedmx", "local")
_FILES = shutil.ignore_patterns("__pycache__", "*.pyc")


def stage_code(task: str, folder: Path) -> Path:
    """Copy the code into a new folder below `folder`, and return it.

    Args:
        task: the task's module; its package is copied if it is in the project's folder.
        folder: an empty folder.

    Raises:
        SettingsError: there is no such module.
    """
    staged = folder / "code"
    for name in dict.fromkeys((*_PACKAGES, task.partition(".")[0])):
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, staged / name, ignore=_FILES)
        elif source.with_suffix(".py").is_file():
            shutil.copy(source.with_suffix(".py"), staged)
        elif find_spec(name) is None:
            raise SettingsError(f"TASK={task}: no module named {name!r}")
    return staged
