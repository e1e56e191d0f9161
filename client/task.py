"""What a task is, the part that is the user's: a model and data. Loads the module that TASK names."""

import importlib
import os
import sys
import sysconfig
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

from client.data import Dataset, make_dataset
from client.mx import gluon, mx
from fedmx.children import ending_forks
from fedmx.errors import DataError, FederationError, SettingsError, StopSignal
from fedmx.files import expected_readable

Loss = Callable[[Any, Any], mx.nd.NDArray]
Metrics = Callable[[Any, Any], Mapping[str, Any]]

_OURS = ("client", "fedmx", "local", "server")
_EXPECTED = "expected a module with build_model() and load_data(data_dir)"


@dataclass(frozen=True)
class Task:
    """A model, its data, its loss and what is measured.

    Attributes:
        name: the module's name.
        build_model: builds the network; what it initializes is kept, the rest is drawn from the run's seed.
        load_data: folder -> training and test set.
        loss: (outputs, labels) -> one loss or several an example, as gluon's losses give; softmax cross
            entropy where the module has none.
        metrics: (outputs, labels) -> by name, one value or several an example, or the batch's mean. Where the
            module has none: accuracy, if the loss is softmax cross entropy of class numbers, else nothing.
            Both arguments are MXNet arrays of one batch.
    """

    name: str
    build_model: Callable[[], gluon.Block]
    load_data: Callable[[Path], tuple[Dataset, Dataset]]
    loss: Loss
    metrics: Metrics


def load_task(name: str) -> Task:
    """Import a task.

    Raises:
        SettingsError: there is no such module, it cannot be imported, or lacks what a task has.
    """
    module = _import(name)
    for function in ("build_model", "load_data"):
        if not callable(getattr(module, function, None)):
            raise SettingsError(f"TASK={name}: {function} is missing; {_EXPECTED}")
    loss = _make_loss(module)
    metrics = getattr(module, "metrics", _choose_metrics(loss))
    if not callable(metrics):
        raise SettingsError(f"TASK={name}: metrics is {_kind(metrics)}; expected a function or none")
    return Task(
        name=name,
        build_model=lambda: _build_model(module),
        load_data=lambda data_dir: _load_data(module, data_dir),
        loss=loss,
        metrics=metrics,
    )


def accuracy(outputs: mx.nd.NDArray, labels: mx.nd.NDArray, axis: int = -1) -> Mapping[str, mx.nd.NDArray]:
    """Return for each label whether the largest output is its class's; nothing if there is one class.

    Args:
        outputs: float, scores of the classes along `axis`.
        labels: class numbers, as many as `outputs` has scores of any one class, in any shape.
        axis: of the classes.
    """
    if outputs.shape[axis] == 1:
        return {}
    best = outputs.argmax(axis=axis)
    return {"accuracy": best == labels.reshape(best.shape)}


def computes_as(loss: Any, kind: type) -> bool:
    """Whether a loss is of gluon's kind, or of one derived from it that computes the same."""
    return isinstance(loss, kind) and type(loss).hybrid_forward is kind.hybrid_forward  # type: ignore[attr-defined]


@contextmanager
def task_errors(name: str, part: str) -> Iterator[None]:
    """Turn what a part of a task raises into one line: it is the user's code, and may fail in any way.

    Args:
        name: the task's.
        part: what is called, such as `loss()`.

    Raises:
        SettingsError: in place of any exception that is not one line already, those of `sys.exit` among them.
    """
    try:
        with ending_forks():
            yield
    except (FederationError, StopSignal):
        raise
    except BaseException as error:
        raise SettingsError(f"TASK={name}: {part} raised {_explain(error, sys.modules.get(name))}") from error


def _explain(error: BaseException, module: ModuleType | None) -> str:
    """Return an exception's kind and reason, and the line of the task's code (None: while it is imported)."""
    # MXNet puts a traceback of its own sources before the reason; Python's libraries put details after it.
    lines = str(error).strip().splitlines() or ["no reason given"]
    reason = lines[-1] if isinstance(error, mx.base.MXNetError) else lines[0]
    kind = type(error).__name__
    place = _find_place(traceback.extract_tb(error.__traceback__), module)
    return f"{kind}: {reason.removeprefix(f'{kind}: ')}{place}"


def _find_place(frames: traceback.StackSummary, module: ModuleType | None) -> str:
    """Return the innermost line of the task's module, else of its author's others, else its network's."""
    file = getattr(module, "__file__", None)
    of_task = [f for f in frames if (f.filename == file if file else f.name == "<module>")]
    found = of_task or [f for f in frames if _is_users(f.filename)]
    if found:
        return f" ({Path(found[-1].filename).name}:{found[-1].lineno})"
    # MXNet computes in the background, and raises where somebody waits for it.
    code = getattr(getattr(module, "build_model", None), "__code__", None)
    if code:
        return f" ({Path(code.co_filename).name}:{code.co_firstlineno})"
    return f" ({Path(file).name})" if file else ""


def _is_users(file: str) -> bool:
    """Whether a file is neither of fedmx, nor of Python, nor of an installed package."""
    others = [sysconfig.get_path(key) for key in ("stdlib", "platstdlib", "purelib", "platlib")]
    others += [str(Path(__file__).parents[1] / name) for name in _OURS]
    return not file.startswith("<") and not any(Path(file).is_relative_to(folder) for folder in others)


def _import(name: str) -> ModuleType:
    if "/" in name or name.startswith(".") or name.endswith(".py"):
        module = ".".join(part for part in Path(name).with_suffix("").parts if part.isidentifier())
        wanted = module or "one such as my_task"
        raise SettingsError(f"TASK={name}: cannot be imported: not a module's name; expected {wanted}")
    try:
        with ending_forks():
            return importlib.import_module(name)
    except StopSignal:
        raise
    except PermissionError as error:
        words = f"{error.filename or error}: {error.strerror}; {expected_readable()}"
        raise SettingsError(f"TASK={name}: cannot be imported: {words}") from error
    except (ImportError, SyntaxError) as error:  # their words name the file
        reason, expected = str(error).strip().partition("\n")[0] or "no reason given", _EXPECTED
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        if path := _find_unreadable(missing or ""):
            reason, expected = f"{reason}, and {path} cannot be read", expected_readable()
        raise SettingsError(f"TASK={name}: cannot be imported: {reason}; {expected}") from error
    except BaseException as error:
        reason = _explain(error, None)
        raise SettingsError(f"TASK={name}: cannot be imported: {reason}; {_EXPECTED}") from error


def _find_unreadable(module: str) -> Path | None:
    """Return the folder or file that this user cannot read on the way to a module, if there is one.

    Python's finders pass over what they cannot read as if it were not there.
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
    except PermissionError:  # of a folder above it
        return False


def _make_loss(module: ModuleType) -> Loss:
    make = getattr(module, "loss", gluon.loss.SoftmaxCrossEntropyLoss)
    if not callable(make) or isinstance(make, gluon.Block):  # a loss itself can be called too
        raise SettingsError(
            f"TASK={module.__name__}: loss is {_kind(make)}; expected a function that gives a loss, or none"
        )
    with task_errors(module.__name__, "loss()"):
        loss: Loss = make()
    if not callable(loss):
        raise SettingsError(f"TASK={module.__name__}: loss() gave {_kind(loss)}; expected a loss of gluon's")
    return loss


def _choose_metrics(loss: Loss) -> Metrics:
    """Return accuracy where labels are known to be class numbers, along which axis the outputs score them."""
    softmax: Any = loss
    if computes_as(loss, gluon.loss.SoftmaxCrossEntropyLoss) and softmax._sparse_label:  # noqa: SLF001 - not public
        return partial(accuracy, axis=softmax._axis)  # noqa: SLF001 - not public
    return lambda *_: {}


def _build_model(module: ModuleType) -> gluon.Block:
    with task_errors(module.__name__, "build_model()"):
        net = module.build_model()
    if not isinstance(net, gluon.Block):
        raise SettingsError(
            f"TASK={module.__name__}: build_model() gave {_kind(net)}; expected gluon's Block"
        )
    return net


def _load_data(module: ModuleType, data_dir: Path) -> tuple[Dataset, Dataset]:
    with task_errors(module.__name__, "load_data()"):
        try:
            sets = module.load_data(data_dir)
        except OSError as error:
            expected = f"; {expected_readable()}" if isinstance(error, PermissionError) else ""
            raise DataError(f"DATA_DIR={data_dir}: cannot be read: {error}{expected}") from error
    train, test = _unpack(module, "", sets)
    return _as_dataset(module, "training set", train), _as_dataset(module, "test set", test)


def _as_dataset(module: ModuleType, word: str, data: Any) -> Dataset:
    # One that the task made itself is checked like any other.
    pair = (data.examples, data.labels) if isinstance(data, Dataset) else data
    return make_dataset(f"TASK={module.__name__}: {word}", *_unpack(module, f" as {word}", pair))


def _unpack(module: ModuleType, place: str, pair: Any) -> tuple[Any, Any]:
    if isinstance(pair, tuple | list) and len(pair) == 2:  # noqa: PLR2004 - a pair
        return pair[0], pair[1]
    count = f" of {len(pair)}" if isinstance(pair, tuple | list) else ""
    raise SettingsError(
        f"TASK={module.__name__}: load_data() gave {_kind(pair)}{count}{place};"
        " expected (train, test), each (examples, labels)"
    )


def _kind(value: object) -> str:
    return "None" if value is None else f"an object of type {type(value).__name__}"
