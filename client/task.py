"""What a task is, the part that is the user's: a model and data. Loads the module that TASK names."""

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from client.data import Dataset, make_dataset
from client.mx import gluon, mx
from fedmx.errors import DataError, SettingsError

Metrics = Callable[[Any, Any], Mapping[str, Any]]

_EXPECTED = "expected a module with build_model() and load_data(data_dir)"


@dataclass(frozen=True)
class Task:
    """A model, its data, its loss and what is measured.

    Attributes:
        name: the module's name.
        build_model: makes the network, not initialized.
        load_data: folder -> training and test set.
        loss: (outputs, labels) -> one loss an example; softmax cross entropy where the module has none.
        metrics: (outputs, labels) -> by name, one value an example or the batch's mean; accuracy where the module
            has none. Both arguments are MXNet arrays of one batch.
    """

    name: str
    build_model: Callable[[], gluon.HybridBlock]
    load_data: Callable[[Path], tuple[Dataset, Dataset]]
    loss: gluon.loss.Loss
    metrics: Metrics


def load_task(name: str) -> Task:
    """Import a task.

    Raises:
        SettingsError: there is no such module, it cannot be imported, or lacks what a task has.
    """
    try:
        module = importlib.import_module(name)
    except (ImportError, SyntaxError, ValueError) as error:
        raise SettingsError(f"TASK={name}: cannot be imported: {error}; {_EXPECTED}") from None
    for function in ("build_model", "load_data"):
        if not callable(getattr(module, function, None)):
            raise SettingsError(f"TASK={name}: {function} is missing; {_EXPECTED}")
    loss = module.loss() if hasattr(module, "loss") else gluon.loss.SoftmaxCrossEntropyLoss()
    return Task(
        name=name,
        build_model=module.build_model,
        load_data=lambda data_dir: _load_data(module, data_dir),
        loss=loss,
        metrics=getattr(module, "metrics", accuracy),
    )


def accuracy(outputs: mx.nd.NDArray, labels: mx.nd.NDArray) -> Mapping[str, mx.nd.NDArray]:
    """Tell for each example whether the largest output is its label's.

    Args:
        outputs: float (n, classes).
        labels: (n,).
    """
    return {"accuracy": outputs.argmax(axis=1) == labels}


def _load_data(module: ModuleType, data_dir: Path) -> tuple[Dataset, Dataset]:
    try:
        sets = module.load_data(data_dir)
    except OSError as error:
        raise DataError(f"DATA_DIR={data_dir}: {error.filename or ''} {error.strerror or error}") from None
    try:
        train, test = (_as_dataset(word, data) for word, data in zip(("train", "test"), sets, strict=True))
    except (TypeError, ValueError) as error:
        raise SettingsError(
            f"TASK={module.__name__}: load_data gave no (train, test) of (examples, labels) each: {error}"
        ) from None
    return train, test


def _as_dataset(word: str, data: Any) -> Dataset:
    if isinstance(data, Dataset):
        return data
    examples, labels = data
    return make_dataset(f"{word} set", examples, labels)
