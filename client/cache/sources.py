"""The digest of the code that reads a dataset."""

import hashlib
import os
import sys
import sysconfig
from functools import cache
from pathlib import Path

_INSTALLED = ("stdlib", "platstdlib", "purelib", "platlib")


def digest_sources(task_name: str) -> str:
    """Return a digest of a task's source, and of every loaded module outside of installed packages.

    Those are fedmx itself, if it runs from a folder or a FAB, and modules beside the task's. Modules that the
    task imports only while it reads its data are not among them.
    """
    found = {name: path for name, path in _list_modules() if name == task_name or not _is_installed(path)}
    digest = hashlib.sha256()
    for name, path in sorted(found.items()):
        digest.update(f"{name} {hashlib.sha256(_read(path)).hexdigest()};".encode())
    return digest.hexdigest()


def _list_modules() -> list[tuple[str, str]]:
    modules = [(name, getattr(module, "__file__", None)) for name, module in list(sys.modules.items())]
    return [(name, path) for name, path in modules if isinstance(path, str)]


@cache
def _find_installed() -> tuple[str, ...]:
    """Return the folders of installed packages, with a separator at the end of each."""
    return tuple({f"{sysconfig.get_path(name)}{os.sep}" for name in _INSTALLED})


def _is_installed(path: str) -> bool:
    # There are thousands of modules: `Path.is_relative_to` would take 40 ms of a start.
    return path.startswith(_find_installed())


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    # A module in a zip file, whose archive is not read for each of them.
    except OSError:
        return path.encode()
