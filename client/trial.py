"""Trains a task as one client would, without a server: for tests of tasks."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from client.device import find_devices
from client.shares import DataShare
from client.site_summary import agree_alone
from client.task import load_task
from client.trainer import Trainer
from fedmx import arrays
from fedmx.errors import SettingsError
from fedmx.hyperparameters import Hyperparameters
from fedmx.schema import Schema
from fedmx.settings import ClientSettings
from fedmx.values import PartitionRule


@dataclass(frozen=True)
class Trial:
    """The result of a trial.

    Attributes:
        arrays: the trained model, by the names of `net.save_parameters`.
        training: the metrics of the training, round by round.
        evaluation: the metrics of the trained model on the test set.
        schema: the columns of the data, if the task has `columns`.
    """

    arrays: Mapping[str, NDArray[Any]]
    training: list[Mapping[str, float]]
    evaluation: Mapping[str, float]
    schema: Schema | None


def run_trial(
    task: str,
    data_dir: Path | str,
    rounds: int = 1,
    options: Mapping[str, Any] | None = None,
    **hyperparameters: Any,
) -> Trial:
    """Train a task on all of its data, on the CPU, as one client would, and evaluate it.

    Args:
        task: the name of its module.
        data_dir: the folder with its data.
        rounds: the number of rounds, at least 1.
        options: TASK_OPTIONS.
        **hyperparameters: settings such as `learning_rate`, `batch_size` and `optimizer`, in lower case.

    Raises:
        SettingsError: the task cannot be trained.
        DataError: its data cannot be read or used.
    """
    how = Hyperparameters(**{**hyperparameters, "task_options": dict(options or {})})
    data_dir = Path(data_dir)
    schema = agree_alone(task, how.task_options, data_dir, ClientSettings.min_group)
    trainer = Trainer(load_task(task, how.task_options, data_dir, schema), data_dir, find_devices("cpu", ()))
    model = trainer.initial_arrays(0)
    trainer.load_partition(DataShare(PartitionRule("none"), None, 1, 0))
    training = []
    for number in range(1, rounds + 1):
        update, metrics = trainer.train(model, how, number, [0, number, 0])
        # Frozen arrays are in no update.
        model = arrays.make_record({**model, **update})
        training.append(metrics)
    evaluation = trainer.evaluate(model, how, rounds, [0, rounds, 0])
    trained = {name: arrays.view(array) for name, array in model.items()}
    return Trial(trained, [*training], evaluation, schema)


def make_schema(task: str, data_dir: Path | str, options: Mapping[str, Any] | None = None) -> Schema:
    """Return the schema of this data alone, as if it were the only site.

    Args:
        task: the name of its module, which has `columns`.
        data_dir: the folder with its data.
        options: TASK_OPTIONS.

    Raises:
        SettingsError: the task has no columns, or its code raises an exception.
        DataError: its data cannot be read or used.
    """
    schema = agree_alone(task, options or {}, Path(data_dir), ClientSettings.min_group)
    if schema is None:
        raise SettingsError(f"TASK={task}: columns is missing; expected a function columns(data_dir)")
    return schema
