"""Tables: CSV files at each site, and a network of dense layers that predicts one of their columns.

The label is a class, whatever its values look like, unless the option `problem` is `regression`. Options
come from the server's TASK_OPTIONS, so that they are the same at all sites. The schema has what the sites
agreed on: the columns, the means and deviations of numbers, and the values of texts.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from client.data import (
    CsvFormat,
    Table,
    encode,
    encode_inputs,
    list_classes,
    read_csv,
    read_examples,
    scale_label,
    unscale_label,
)
from client.mx import gluon, mx
from client.task import Loss, accuracy
from client.task_options import fill_in, naming_task_options
from fedmx.errors import SettingsError
from fedmx.schema import Schema

Options = Mapping[str, Any]

# TASK_OPTIONS of the server change these for all sites at once, such as '{"label": "outcome"}'.
DEFAULTS: Options = {
    # The column to predict; all others are inputs, except those in `ignore`.
    "label": "label",
    "problem": "classification",
    # Columns are numbers if all their values are; name those that are not what they look like.
    "numeric": [],
    "categorical": [],
    "ignore": [],
    "delimiter": ",",
    "decimal": ".",
    "encoding": "utf-8",
    "rare": "refuse",
    "test": 0.2,
    "hidden": [64, 32],
    "dropout": 0.0,
}


def columns(data_dir: Path, options: Options) -> Mapping[str, NDArray[Any]]:
    """Return the columns of this site's training set, from which the schema is made."""
    # Counts, means and deviations of these leave the site, and texts of at least MIN_GROUP rows; rows do not.
    train, _ = _read_sets(data_dir, options)
    return train.columns


def load_data(data_dir: Path, options: Options, schema: Schema) -> Any:
    """Read the training and the test set: inputs float32 (n, d), and class numbers or numbers (n,)."""
    chosen = _fill_in(options)
    label = chosen["label"]
    sets = _read_sets(data_dir, options)
    if _is_regression(options):
        return tuple((encode_inputs(each, schema, label), np.float32(each.columns[label])) for each in sets)
    return tuple(encode(each, schema, label, chosen["rare"]) for each in sets)


def load_examples(path: Path, options: Options, schema: Schema) -> NDArray[np.float32]:
    """Read the rows of a file as inputs float32 (n, d). The file may have no labels."""
    chosen = _fill_in(options)
    form = CsvFormat(chosen["delimiter"], chosen["decimal"], chosen["encoding"])
    return read_examples(path, schema, chosen["label"], form)


def build_model(options: Options, schema: Schema) -> gluon.HybridBlock:
    """Build the network. It has an output for each class, or one with the label in its own unit."""
    chosen = _fill_in(options)
    # Any gluon Block will do. Its inputs are one row of numbers for each example.
    net = gluon.nn.HybridSequential()
    for units in chosen["hidden"]:
        net.add(gluon.nn.Dense(units, activation="relu"), gluon.nn.Dropout(chosen["dropout"]))
    if _is_regression(options):
        unscale = gluon.nn.HybridLambda(lambda _, scaled: unscale_label(scaled, schema, chosen["label"]))
        net.add(gluon.nn.Dense(1), unscale)
    else:
        net.add(gluon.nn.Dense(len(list_classes(schema, chosen["label"]))))
    return net


def loss(options: Options, schema: Schema) -> Loss:
    """Return softmax cross entropy, or the squared error of the scaled label."""
    cross_entropy: Loss = gluon.loss.SoftmaxCrossEntropyLoss()
    squared, label = gluon.loss.L2Loss(), _fill_in(options)["label"]

    def squared_error(outputs: mx.nd.NDArray, labels: mx.nd.NDArray) -> mx.nd.NDArray:
        return squared(scale_label(outputs, schema, label), scale_label(labels, schema, label))

    return squared_error if _is_regression(options) else cross_entropy


def metrics(outputs: mx.nd.NDArray, labels: mx.nd.NDArray) -> Mapping[str, mx.nd.NDArray]:
    """Return the accuracy, or the absolute and the squared error in the label's own unit."""
    if outputs.shape[1] > 1:
        return accuracy(outputs, labels)
    errors = outputs.reshape(-1) - labels
    return {"mae": errors.abs(), "mse": errors**2}


def CLASSES(options: Options, schema: Schema) -> tuple[str, ...]:  # noqa: N802 - the task API's name
    """Return the names of the classes; none for regression."""
    return () if _is_regression(options) else list_classes(schema, _fill_in(options)["label"])


def _fill_in(options: Options) -> Options:
    chosen = fill_in(options, DEFAULTS)
    if chosen["problem"] not in ("classification", "regression"):
        raise SettingsError(
            f"TASK_OPTIONS: problem={chosen['problem']!r}: expected classification or regression"
        )
    if not all(units > 0 for units in chosen["hidden"]):
        raise SettingsError(f"TASK_OPTIONS: hidden={chosen['hidden']}: expected integers of at least 1")
    for name in ("test", "dropout"):
        if not 0 <= chosen[name] < 1:
            raise SettingsError(f"TASK_OPTIONS: {name}={chosen[name]}: expected a share from 0 to below 1")
    return chosen


def _is_regression(options: Options) -> bool:
    return bool(_fill_in(options)["problem"] == "regression")


def _read_sets(data_dir: Path, options: Options) -> tuple[Table, Table]:
    how = dict(_fill_in(options))
    test = how.pop("test")
    for other in ("problem", "hidden", "dropout"):
        del how[other]
    kind, other = "categorical", "numeric"
    if _is_regression(options):
        kind, other = other, kind
    if how["label"] in how[other]:
        raise SettingsError(
            f"TASK_OPTIONS: the label {how['label']!r} is in {other}; expected no label there: the option"
            " problem decides its kind"
        )
    how[kind] = {*how[kind], how["label"]}
    with naming_task_options():
        return read_csv(data_dir, **how).split(test)
