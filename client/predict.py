"""`python -m client predict RUN FILE...`: applies a run's model to files."""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from client import json_lines
from client.classifier import Classifier, find_classifier
from client.example_files import ExampleFiles, Inputs
from client.loading import build_network
from client.mx import gluon
from client.saved_run import find_run
from client.settings import load_settings
from client.task import Task, load_task
from client.task_errors import task_errors
from fedmx.log import printable

_BATCH_SIZE = 100
# A line of text has at most this many values.
_MOST_SHOWN = 16
_EXPECTED = (
    "the inputs of the network in this order; for a network that only the task's own loops can call, use"
    " client.loading.load_into in a script"
)


def run(arguments: argparse.Namespace, output: TextIO) -> None:
    """Print a line for each example: a class with its probability, or values.

    Raises:
        SettingsError: an argument is not valid, or the task's code raises an exception.
        DataError: a file cannot be read, or is not an example of the task.
    """
    saved = find_run(arguments.run, is_best=arguments.best)
    data_dir = load_settings().data_dir
    task = load_task(saved.task, saved.hyperparameters.task_options, data_dir, saved.schema)
    net = build_network(task, saved)
    files = ExampleFiles(task, data_dir)
    for path in arguments.file:
        for prediction in predict(net, task, files, path):
            line = json_lines.to_line(prediction) if arguments.json else _as_line(prediction)
            print(line, file=output, flush=True)


def predict(net: gluon.Block, task: Task, files: ExampleFiles, path: Path) -> Iterator[dict[str, Any]]:
    """Yield the prediction for each example of a file.

    Yields:
        `file`, and `index` of the example; for classes also `class`, `probability` and `probabilities`,
        otherwise `value`, or `values` if there are several.

    Raises:
        SettingsError: the task's code raises an exception.
        DataError: the file cannot be read, or is not an example of the task.
    """
    inputs = files.read(path)
    classifier = find_classifier(task)
    for start in range(0, len(inputs[0]), _BATCH_SIZE):
        with task_errors(task.name, f"the network, given {_describe(inputs)} from {path},", _EXPECTED):
            outputs = net(*(array[start : start + _BATCH_SIZE] for array in inputs))
            rows = list(_read_rows(outputs, classifier))
        for number, row in enumerate(rows, start):
            yield {"file": str(path), "index": number, **row}


def _read_rows(outputs: Any, classifier: Classifier | None) -> Iterator[dict[str, Any]]:
    probabilities = None if classifier is None else classifier.find_probabilities(outputs)
    # Outputs for each pixel do not classify the example.
    if classifier is None or probabilities is None or probabilities.ndim > 2:  # noqa: PLR2004 - examples, classes
        yield from _read_values(outputs)
        return
    names = classifier.name_all(probabilities.shape[1])
    for row in probabilities:
        shares = [float(share) for share in row]
        yield {
            "class": names[int(row.argmax())],
            "probability": max(shares),
            "probabilities": dict(zip(names, shares, strict=True)),
        }


def _read_values(outputs: Any) -> Iterator[dict[str, Any]]:
    columns = outputs if isinstance(outputs, tuple | list) else [outputs]
    arrays = [np.asarray(column.asnumpy()) for column in columns]
    for row in zip(*arrays, strict=True):
        if len(row) == 1 and row[0].size == 1:
            yield {"value": row[0].item()}
        else:
            yield {"values": row[0].tolist() if len(row) == 1 else [values.tolist() for values in row]}


def _as_line(prediction: dict[str, Any]) -> str:
    place = f"{prediction['file']}[{prediction['index']}]"
    if "class" in prediction:
        return f"{place}: class {printable(prediction['class'])}, probability {prediction['probability']:.4f}"
    if "value" in prediction:
        return f"{place}: value {prediction['value']:.6g}"
    values = prediction["values"]
    flat = np.asarray(values, dtype=object).ravel()
    shown = (
        " ".join(f"{value:.6g}" for value in flat) if _is_short(values) else "too many to show, see --json"
    )
    return f"{place}: values {shown}"


def _is_short(values: list[Any]) -> bool:
    return len(values) <= _MOST_SHOWN and not any(isinstance(value, list) for value in values)


def _describe(inputs: Inputs) -> str:
    return ", ".join(f"{np.dtype(array.dtype).name} {array.shape}" for array in inputs)
