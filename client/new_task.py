"""`python -m client new-task NAME`: a task of the user's own, from a built-in one, and a test of it.

The files are the built-in task's own source and its test, so they cannot differ from what works.
"""

import argparse
import ast
import importlib.util
import keyword
import sys
from contextlib import suppress
from pathlib import Path
from typing import TextIO

from fedmx.errors import DataError, SettingsError

_ROOT = Path(__file__).resolve().parents[1]
_TASKS = _ROOT / "client" / "tasks"
_EXPECTED = "expected a name of your own for the module, such as my_task"


def run(arguments: argparse.Namespace, output: TextIO) -> None:
    """Write the module and its test into the current folder, and print what to do next.

    Raises:
        SettingsError: the name is not that of a module, or another module has it.
        DataError: a file exists or cannot be written.
    """
    name, like = arguments.name, arguments.like
    module, test = Path(f"{name}.py"), Path(f"test_{name}.py")
    _check_name(name, module, test)
    _write({module: make_module(name, like), test: make_test(name, like)})
    print("\n".join(_describe(name, like)), file=output)


def make_module(name: str, like: str) -> str:
    """Return the source of a task that is like a built-in one."""
    source = (_TASKS / f"{like}.py").read_text()
    own = ast.get_docstring(ast.parse(source)) or ""
    rest = source.split('"""', 2)[2]
    return (
        f'"""A task of your own, which began as a copy of client.tasks.{like}:\n\n{own}\n\n'
        "Change its functions to your model and data. docs/reference/tasks.md lists all a task may define,\n"
        f'and test_{name}.py tests this one.\n"""{rest}'
    )


def make_test(name: str, like: str) -> str:
    """Return the source of the test of a task that is like a built-in one."""
    source = (_TASKS / "tests" / f"test_{like}.py").read_text()
    renamed = source.replace(f"from client.tasks import {like} as task", f"import {name} as task")
    return renamed.replace(f"client.tasks.{like}", name).replace(f"test_{like}.py", f"test_{name}.py")


def _check_name(name: str, module: Path, test: Path) -> None:
    if "." in name or "/" in name:
        raise SettingsError(
            f"NAME={name}: a module in a folder; {_EXPECTED}, and run this command in that folder"
        )
    if not (name.isascii() and name.isidentifier()) or keyword.iskeyword(name):
        raise SettingsError(f"NAME={name}: not the name of a module; {_EXPECTED}")
    for path in (module, test):
        # A dangling link exists, too.
        if path.exists() or path.is_symlink():
            raise DataError(f"{path}: exists already; expected another NAME; no file was written")
    if place := _find_module(name):
        raise SettingsError(f"NAME={name}: Python imports {place} by this name; {_EXPECTED}")


def _find_module(name: str) -> str:
    """Return where Python finds a module of this name; empty if it does not."""
    if name in sys.stdlib_module_names:
        return f"the standard library's {name}"
    try:
        spec = importlib.util.find_spec(name)
    except ValueError:
        # A module without a spec, such as __main__.
        return f"a module {name}"
    if spec is None:
        return ""
    # A folder without __init__.py is a module as well.
    return spec.origin or ", ".join(spec.submodule_search_locations or ()) or name


def _write(sources: dict[Path, str]) -> None:
    """Write new files; those before one that cannot be written are removed."""
    written: list[Path] = []
    for path, source in sources.items():
        try:
            # `x` never replaces a file, even one that another program has created since.
            with path.open("x", encoding="utf-8") as file:
                written.append(path)
                file.write(source)
        except OSError as error:
            for unneeded in written:
                with suppress(OSError):
                    unneeded.unlink()
            raise DataError(
                f"{path.absolute()}: cannot be written ({error.strerror}); expected a folder that you may"
                " write to"
            ) from error


def _describe(name: str, like: str) -> list[str]:
    """Return the lines to print: what was written, and what to do next."""
    folder, python = Path.cwd(), Path(sys.executable)
    # Only the data of this task is part of fedmx.
    data_dir = _ROOT / "data" / "mnist" if like == "mnist" else Path("/data/mine")
    run = f"run TASK={name} DATA_DIR={_shorten(data_dir, _ROOT)}"
    shown = _shorten(python, folder)
    lines = [
        f"wrote {name}.py: adapt build_model and load_data; its comments show where",
        f"wrote test_{name}.py: tests it on a small dataset",
        "next:",
        f"  {shown} test_{name}.py",
        f"  {shown} -m client check-task {name} {_shorten(data_dir, folder)}",
    ]
    # The client's image has no Makefile.
    if (_ROOT / "Makefile").exists():
        lines.append(f"  make {run}" if folder == _ROOT else f"  PYTHONPATH={folder} make -C {_ROOT} {run}")
    return lines


def _shorten(path: Path, folder: Path) -> Path:
    return path.relative_to(folder) if path.is_relative_to(folder) else path
