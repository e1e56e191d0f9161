"""`python -m client evaluate RUN [DATA_DIR]`: measures a run's model on a whole test set."""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from client import confusion, json_lines, own_loops, training
from client.class_counter import ClassCounter
from client.classifier import Classifier, find_classifier
from client.context import Context
from client.data.lazy import AnyDataset
from client.device import find_devices
from client.loading import build_network
from client.metrics import COUNT
from client.mx import gluon, mx
from client.saved_run import SavedRun, find_run
from client.seeding import seed_all, seed_call
from client.settings import load_settings
from client.shares import load_rows
from client.task import Task, load_task
from client.task_errors import task_errors
from fedmx.class_counts import ClassCounts, measure_all
from fedmx.errors import SettingsError
from fedmx.files import atomic_write
from fedmx.log import printable

_BATCH_SIZE = 100


@dataclass(frozen=True)
class Result:
    """The measurements of a run's model.

    Attributes:
        run: the run.
        examples: number of examples in the test set, or the weight that the task's own function returned.
        metrics: the metrics by name.
        counts: the confusion matrix; None if the outputs are not classes.
        classes: the names of the matrix's rows.
    """

    run: SavedRun
    examples: float
    metrics: Mapping[str, float]
    counts: confusion.Counts | None
    classes: Sequence[str]


def run(arguments: argparse.Namespace, output: TextIO) -> None:
    """Print the metrics, and the confusion matrix if the task is a classification.

    Raises:
        SettingsError: an argument is not valid, or the task's code raises an exception.
        DataError: a file cannot be read or written.
    """
    saved = find_run(arguments.run, is_best=arguments.best)
    result = evaluate(saved, arguments.data_dir)
    if arguments.plot and result.counts is None:
        raise SettingsError(
            f"--plot: TASK={saved.task}: outputs or labels are not classes; expected a classifier, such as"
            " one with softmax cross entropy of class numbers, or with CLASSES in the task"
        )
    text = json_lines.to_line(_as_json(result)) if arguments.json else "\n".join(_as_lines(result))
    print(text, file=output)
    if arguments.plot and result.counts is not None:
        with atomic_write(arguments.plot) as file:
            file.write(confusion.as_picture(result.counts))


def evaluate(saved: SavedRun, data_dir: Path | None = None) -> Result:
    """Evaluate a run's model on the whole test set of a folder, by default DATA_DIR.

    Raises:
        SettingsError: the task's code raises an exception.
        DataError: the run's files or the data cannot be read.
    """
    settings = load_settings()
    how = saved.hyperparameters
    data_dir = data_dir or settings.data_dir
    task = load_task(saved.task, how.task_options, data_dir, saved.schema)
    net = build_network(task, saved)
    seed_all(0)
    _, test = task.load_data(data_dir)
    device = find_devices(settings.device, settings.gpu_index).for_partition(None)[0]
    net.collect_params().reset_ctx(device)
    classifier = find_classifier(task)
    if task.evaluate and classifier is not None and not classifier.names:
        # Its own evaluation may read items in another way, or interpret outputs differently.
        classifier = None
    metrics, counted = _measure(net, task, test, Context(how, saved.round, (device,)), classifier)
    examples = metrics.pop(COUNT)
    if counted is not None:
        counts: confusion.Counts | None = counted.confusion
    else:
        counts = None if classifier is None else _count(net, task, classifier, test, device)
    names = [] if classifier is None or counts is None else classifier.name_all(len(counts))
    return Result(saved, examples, {**measure_all([counted]), **metrics}, counts, names)


def _measure(
    net: gluon.Block, task: Task, test: AnyDataset, context: Context, classifier: Classifier | None
) -> tuple[dict[str, float], ClassCounts | None]:
    """Evaluate like a node that has the whole test set, and count by class if such a node does."""
    device = context.devices[0]
    rows: Any = load_rows(test, np.arange(len(test)), device, is_own=task.evaluate is not None)
    seed_call([0])
    with device, task_errors(task.name, "evaluation"):
        if task.evaluate is not None:
            return own_loops.evaluate(net, task, rows, context), None
        counter = None if classifier is None else ClassCounter(classifier)
        metrics = training.evaluate(net, task, rows, context, counter)
        return metrics, None if counter is None else counter.read()


def _count(
    net: gluon.Block, task: Task, classifier: Classifier, test: AnyDataset, device: mx.Context
) -> confusion.Counts | None:
    data: Any = load_rows(test, np.arange(len(test)), device, is_own=False)
    with device, task_errors(task.name, "the network"):
        return confusion.count(net, classifier, data, _BATCH_SIZE)


def _as_json(result: Result) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "run_id": result.run.folder.name,
        "round": result.run.round,
        "num_examples": result.examples,
        "metrics": result.metrics,
    }
    if result.counts is not None:
        facts |= {"classes": result.classes, "confusion": result.counts.tolist()}
    return facts


def _as_lines(result: Result) -> Iterator[str]:
    yield f"run {result.run.folder.name}, round {result.run.round}, {result.examples:g} examples"
    for name, value in sorted(result.metrics.items()):
        yield f"{name} {value:.6g}"
    if result.counts is not None:
        yield from confusion.as_text(result.counts, [printable(name) for name in result.classes])
