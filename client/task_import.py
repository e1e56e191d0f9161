"""Imports a task's module. What fails is one line with the reason, such as a file that cannot be read."""

import importlib
import os
import sys
from pathlib import Path
from types import ModuleType

from client.task_errors import explain, guard_task
from fedmx.errors import SettingsError, StopSignal
from fedmx.files import expected_readable

EXPECTED = "expected a module with build_model() and load_data(data_dir)"


def import_task(name: str) -> ModuleType:
    """Import a task's module, and check that it has the functions that every task has.

    Raises:
        SettingsError: there is no such module, it cannot be imported, or a required function is missing.
    """
    module = _import(name)
    for function in ("build_model", "load_data"):
        if not callable(getattr(module, function, None)):
            raise SettingsError(f"TASK={name}: {function} is missing; {EXPECTED}")
    return module


def _import(name: str) -> ModuleType:
    if "/" in name or name.startswith(".") or name.endswith(".py"):
        parts = [part for part in Path(name).with_suffix("").parts if part.isidentifier()]
        expected = ".".join(parts) or "one such as my_task"
        raise SettingsError(f"TASK={name}: cannot be imported: not a module name; expected {expected}")
    try:
        with guard_task():
            return importlib.import_module(name)
    except StopSignal:
        raise
    except PermissionError as error:
        reason, expected = f"{error.filename or error}: {error.strerror}", expected_readable()
        raise SettingsError(f"TASK={name}: cannot be imported: {reason}; {expected}") from error
    except (ImportError, SyntaxError) as error:
        reason, expected = _explain_import(name, error)
        raise SettingsError(f"TASK={name}: cannot be imported: {reason}; {expected}") from error
    except BaseException as error:
        reason = explain(error, None)
        raise SettingsError(f"TASK={name}: cannot be imported: {reason}; {EXPECTED}") from error


def _explain_import(name: str, error: ImportError | SyntaxError) -> tuple[str, str]:
    """Return the reason, which names the file, and what is expected."""
    reason = str(error).strip().partition("\n")[0] or "no reason given"
    missing = error.name if isinstance(error, ModuleNotFoundError) else None
    path = _find_unreadable(missing or "")
    if path:
        return f"{reason}, and {path} cannot be read", expected_readable()
    if missing and missing.partition(".")[0] != name.partition(".")[0]:
        return reason, "expected an installed package: requirements/task.txt lists those of a task"
    return reason, EXPECTED


def _find_unreadable(module: str) -> Path | None:
    """Return the first folder or file on a module's path that this user cannot read, or None.

    Python's finders skip what they cannot read as if it did not exist.
    """
    parts = module.split(".") if module else []
    for entry in sys.path if parts else ():
        for count in range(len(parts) + 1):
            path = Path(entry or ".").absolute().joinpath(*parts[:count])
            for candidate in (path, Path(f"{path}.py")):
                if not _is_missing_or_readable(candidate):
                    return candidate
    return None


def _is_missing_or_readable(path: Path) -> bool:
    try:
        needed = os.R_OK | (os.X_OK if path.is_dir() else 0)
        return not path.exists() or os.access(path, needed)
    except PermissionError:
        # A folder above it cannot be entered.
        return False
