"""The digest of the code that reads a dataset."""

import hashlib
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


def _list_modules() -> list[tuple[str, Path]]:
    modules = [(name, getattr(module, "__file__", None)) for name, module in list(sys.modules.items())]
    return [(name, Path(path)) for name, path in modules if isinstance(path, str)]


@cache
def _find_installed() -> tuple[Path, ...]:
    return tuple({Path(sysconfig.get_path(name)) for name in _INSTALLED})


def _is_installed(path: Path) -> bool:
    return any(path.is_relative_to(folder) for folder in _find_installed())


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    # A module in a zip file, whose archive is not read for each of them.
    except OSError:
        return str(path).encode()
