"""What a task's code raises, as one line that names the task, the part, the reason and the line of code."""

import signal
import sys
import sysconfig
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from client.mx import mx
from fedmx.children import ending_forks
from fedmx.errors import FederationError, SettingsError, StopSignal
from fedmx.signals import restore_handlers

_PACKAGES = ("client", "fedmx", "local", "server")


@contextmanager
def task_errors(name: str, part: str, expected: str = "") -> Iterator[None]:
    """Turn what a part of a task raises into one line: it is the user's code and may fail in any way.

    Args:
        name: the task's name.
        part: what is called, such as `loss()`.
        expected: what is expected instead, if that is known.

    Raises:
        SettingsError: for every exception, including `SystemExit`, that is not a line already.
        StopSignal: the user pressed Ctrl-C while the task handled SIGINT.
    """
    try:
        with guard_task():
            yield
    except (FederationError, StopSignal):
        raise
    except BaseException as error:
        reason = explain(error, sys.modules.get(name))
        end = f"; expected {expected}" if expected else ""
        raise SettingsError(f"TASK={name}: {part} raised {reason}{end}") from error


@contextmanager
def guard_task() -> Iterator[None]:
    """Keep what a task does to its process from changing how the client ends.

    A process that was forked in the block ends where it leaves the block. Signal handlers that the task set
    are replaced by the client's.

    Raises:
        StopSignal: the user pressed Ctrl-C while the task handled SIGINT.
    """
    try:
        with ending_forks():
            yield
    except KeyboardInterrupt:
        # Python's own handler raised it if the task had set that one. The client's raises StopSignal.
        if signal.SIGINT in restore_handlers():
            signal.raise_signal(signal.SIGINT)
        raise
    finally:
        restore_handlers()


def explain(error: BaseException, module: ModuleType | None) -> str:
    """Return an exception's type and reason, and the line of the task's code that raised it.

    Args:
        error: what was raised.
        module: the task; None while it is imported.
    """
    try:
        text = str(error).strip()
    # A class of the task's own may fail to describe itself.
    except Exception:  # noqa: BLE001 - see above
        text = ""
    lines = text.splitlines() or ["no reason given"]
    # MXNet puts a traceback of its C++ code before the reason. Python libraries put details after it.
    reason = lines[-1] if isinstance(error, mx.base.MXNetError) else lines[0]
    kind = type(error).__name__
    return f"{kind}: {reason.removeprefix(f'{kind}: ')}{_find_place(error, module)}"


def _find_place(error: BaseException, module: ModuleType | None) -> str:
    """Return the innermost line of the task's module, or else of another module of its author."""
    file = getattr(module, "__file__", None)
    frames = traceback.extract_tb(error.__traceback__)
    of_task = [f for f in frames if (f.filename == file if file else f.name == "<module>")]
    found = of_task or [f for f in frames if _is_users(f.filename)]
    if found:
        return f" ({Path(found[-1].filename).name}:{found[-1].lineno})"
    code = getattr(getattr(module, "build_model", None), "__code__", None)
    # MXNet computes in the background and raises where a result is read, so the network is the best guess.
    if code and isinstance(error, mx.base.MXNetError):
        return f" ({Path(code.co_filename).name}:{code.co_firstlineno})"
    return f" ({Path(file).name})" if file else ""


def _is_users(file: str) -> bool:
    """Whether a file belongs neither to fedmx nor to Python nor to an installed package."""
    others = [sysconfig.get_path(key) for key in ("stdlib", "platstdlib", "purelib", "platlib")]
    others += [str(Path(__file__).parents[1] / name) for name in _PACKAGES]
    return not file.startswith("<") and not any(Path(file).is_relative_to(folder) for folder in others)
