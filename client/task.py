"""A task: the user's model and data, from the module that TASK names."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

from client.context import Context
from client.data import Dataset, make_dataset
from client.data.lazy import AnyDataset
from client.mx import gluon, mx
from client.task_errors import task_errors
from client.task_functions import Arguments, Options, describe, find_optional, pass_by_name, reading
from client.task_import import import_task
from fedmx.errors import DataError, SettingsError
from fedmx.schema import Schema

Loss = Callable[[Any, Any], mx.nd.NDArray]
Metrics = Callable[[Any, Any], Mapping[str, Any]]
Train = Callable[[gluon.Block, gluon.data.Dataset, Context], Any]

_OPTIONAL = ("trainer", "train", "evaluate")
_READERS = ("load_example", "load_examples")
# Functions of which the model and the data depend, and which may ask for TASK_OPTIONS.
_CONFIGURED = ("build_model", "load_data", "loss", "metrics", "FROZEN", *_READERS)


@dataclass(frozen=True)
class Task:
    """A model, its data, and how it is trained and evaluated.

    Attributes:
        name: the module's name.
        build_model: builds the network. Parameters that it initializes keep their values; the others are
            drawn from the run's seed.
        load_data: folder -> training and test set.
        loss: (outputs, labels) -> one or several losses per example, as gluon's losses return them. The
            default is softmax cross entropy.
        metrics: (outputs, labels) -> metric name -> one or several values per example, or the mean of the
            batch. Both arguments are MXNet arrays of one batch. The default is accuracy if the loss is
            softmax cross entropy of class numbers, otherwise no metrics.
        trainer: (network, context) -> a `gluon.Trainer` for the built-in loop; None: OPTIMIZER's.
        train: (network, share, context) -> numbers by name, or such numbers and a weight; trains in place.
            None: the built-in loop.
        evaluate: the same for evaluation.
        load_example: path of a file -> one example in the form that `load_data` returns, without its label:
            an array, or a tuple of them for several inputs. None: files are read by their kind.
        load_examples: the same for a file with any number of examples, in arrays with one row for each.
        frozen: patterns of `fnmatch` for the structural names of parameters that are never trained.
        options: TASK_OPTIONS, which the task's functions get if they have a parameter of this name.
        schema: what the sites agreed on, likewise; None if the task has no columns to agree on.
    """

    name: str
    build_model: Callable[[], gluon.Block]
    load_data: Callable[[Path], tuple[AnyDataset, AnyDataset]]
    loss: Loss
    metrics: Metrics
    trainer: Callable[[gluon.Block, Context], gluon.Trainer] | None = None
    train: Train | None = None
    evaluate: Train | None = None
    load_example: Callable[[Path], Any] | None = None
    load_examples: Callable[[Path], Any] | None = None
    frozen: tuple[str, ...] = ()
    options: Options = field(default_factory=dict)
    schema: Schema | None = None


def load_task(
    name: str, options: Options | None = None, data_dir: Path | None = None, schema: Schema | None = None
) -> Task:
    """Import a task.

    Args:
        name: name of the module.
        options: TASK_OPTIONS of the server.
        data_dir: the folder with the data, where `build_model` may find a file of weights.
        schema: what the sites agreed on; needed if the task has columns.

    Raises:
        SettingsError: there is no such module, it cannot be imported, or a required function is missing.
    """
    options = options or {}
    module = import_task(name)
    given = Arguments(module, options, schema)
    loss = _make_loss(module, given)
    metrics = getattr(module, "metrics", _choose_metrics(loss))
    if not callable(metrics):
        raise SettingsError(f"TASK={name}: metrics is {describe(metrics)}; expected a function or no metrics")
    readers = {function: find_optional(module, function) for function in _READERS}
    return Task(
        name=name,
        build_model=lambda: _build_model(module, given, data_dir),
        load_data=lambda data_dir: _load_data(module, data_dir, given),
        loss=loss,
        metrics=given.bind(metrics),
        frozen=_read_patterns(module, given),
        options=options,
        schema=schema,
        **{function: find_optional(module, function) for function in _OPTIONAL},
        **{name: function and given.bind(function) for name, function in readers.items()},
    )


def may_need_options(name: str) -> bool:
    """Whether a task cannot be built and tried before TASK_OPTIONS are known.

    Raises:
        SettingsError: there is no such module, it cannot be imported, or a required function is missing.
    """
    module = import_task(name)
    functions = [getattr(module, name, None) for name in _CONFIGURED]
    takes_them = any(pass_by_name(function, options={}) for function in functions if callable(function))
    # The context of a trainer has the options.
    return (
        takes_them
        or find_optional(module, "trainer") is not None
        or find_optional(module, "columns") is not None
    )


def accuracy(outputs: mx.nd.NDArray, labels: mx.nd.NDArray, axis: int = -1) -> Mapping[str, mx.nd.NDArray]:
    """Return for each label whether its class has the largest output; nothing if there is only one class.

    Args:
        outputs: float, scores of the classes along `axis`.
        labels: class numbers, one for each position along the other axes of `outputs`, in any shape.
        axis: the axis of the classes.
    """
    if outputs.shape[axis] == 1:
        return {}
    best = outputs.argmax(axis=axis).astype("float32")
    return {"accuracy": best == labels.reshape(best.shape)}


def computes_as(loss: Any, kind: type) -> bool:
    """Whether a loss is of this gluon class, or of a subclass that computes the same."""
    return isinstance(loss, kind) and type(loss).hybrid_forward is kind.hybrid_forward  # type: ignore[attr-defined]


def _make_loss(module: ModuleType, given: Arguments) -> Loss:
    make = getattr(module, "loss", gluon.loss.SoftmaxCrossEntropyLoss)
    # A gluon loss is callable as well, but it takes outputs and labels.
    if not callable(make) or isinstance(make, gluon.Block):
        raise SettingsError(
            f"TASK={module.__name__}: loss is {describe(make)}; expected a function that returns a loss,"
            " or no loss"
        )
    with task_errors(module.__name__, "loss()"):
        loss: Loss = make(**given.choose(make))
    if not callable(loss):
        raise SettingsError(
            f"TASK={module.__name__}: loss() returned {describe(loss)}; expected a gluon loss or a function"
            " of outputs and labels"
        )
    return loss


def _choose_metrics(loss: Loss) -> Metrics:
    """Return accuracy along the loss's class axis if labels are known to be class numbers, or no metrics."""
    softmax: Any = loss
    # gluon has no public way to read the options of a loss.
    if computes_as(loss, gluon.loss.SoftmaxCrossEntropyLoss) and softmax._sparse_label:  # noqa: SLF001
        return partial(accuracy, axis=softmax._axis)  # noqa: SLF001
    return lambda *_: {}


def _read_patterns(module: ModuleType, given: Arguments) -> tuple[str, ...]:
    patterns = getattr(module, "FROZEN", ())
    if callable(patterns):
        with task_errors(module.__name__, "FROZEN()"):
            patterns = patterns(**given.choose(patterns))
    patterns = (patterns,) if isinstance(patterns, str) else patterns
    if not isinstance(patterns, tuple | list) or not all(isinstance(each, str) for each in patterns):
        raise SettingsError(
            f"TASK={module.__name__}: FROZEN={patterns!r}: expected a list of patterns of parameters' names,"
            ' such as ["features.*"]'
        )
    return tuple(patterns)


def _build_model(module: ModuleType, given: Arguments, data_dir: Path | None) -> gluon.Block:
    with task_errors(module.__name__, "build_model()"):
        arguments = given.choose(module.build_model, data_dir=data_dir)
        if "data_dir" in arguments:
            _check_folder(module, data_dir)
        net = module.build_model(**arguments)
    if not isinstance(net, gluon.Block):
        raise SettingsError(
            f"TASK={module.__name__}: build_model() returned {describe(net)}; expected a gluon Block"
        )
    return net


def _check_folder(module: ModuleType, data_dir: Path | None) -> None:
    if data_dir is None or not data_dir.is_dir():
        raise DataError(
            f"DATA_DIR={data_dir or ''}: not a folder; expected one: TASK={module.__name__} has"
            " build_model(data_dir)"
        )


def _load_data(module: ModuleType, data_dir: Path, given: Arguments) -> tuple[AnyDataset, AnyDataset]:
    with task_errors(module.__name__, "load_data()"), reading(data_dir):
        sets = module.load_data(data_dir, **given.choose(module.load_data))
    train, test = _unpack(module, "", sets)
    return _as_dataset(module, "training set", train), _as_dataset(module, "test set", test)


def _as_dataset(module: ModuleType, which: str, data: Any) -> AnyDataset:
    name = f"TASK={module.__name__}: {which}"
    if isinstance(data, gluon.data.Dataset):
        with task_errors(module.__name__, f"the length of the {which}"):
            is_empty = not len(data)
        if is_empty:
            raise DataError(f"{name}: it is empty; expected at least one example")
        return data
    # A task may build a Dataset itself, which skips the checks.
    pair = (data.examples, data.labels) if isinstance(data, Dataset) else data
    return make_dataset(name, *_unpack(module, f" as {which}", pair))


def _unpack(module: ModuleType, place: str, pair: Any) -> tuple[Any, Any]:
    if isinstance(pair, tuple | list) and len(pair) == 2:  # noqa: PLR2004 - a pair
        return pair[0], pair[1]
    count = f" of {len(pair)}" if isinstance(pair, tuple | list) else ""
    raise SettingsError(
        f"TASK={module.__name__}: load_data() returned {describe(pair)}{count}{place};"
        " expected (train, test), each (examples, labels) or a gluon Dataset"
    )
