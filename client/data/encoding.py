"""Encodes tables as a network's inputs and labels, by the schema that the sites agreed on.

A number is scaled to mean 0 and deviation 1 over all sites; one that is missing is 0, and has an input that
is 1 if numbers are missing at some site. A text has an input for each value of its column, and one for all
other texts.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from client.data.csv_columns import Kind, read_columns
from client.data.csv_file import find_files
from client.data.csv_rows import CsvFormat, fail
from client.data.rare import Rare
from client.data.table import Table
from client.data.table_checks import leave_out_others
from fedmx import memory
from fedmx.errors import DataError
from fedmx.listing import list_names
from fedmx.log import printable
from fedmx.schema import Categorical, Column, Numeric, Schema
from fedmx.sizes import show_megabytes, show_setting

# Of a float32.
_ITEM_BYTES = 4


def encode(
    table: Table, schema: Schema, label: str, rare: Rare = "refuse"
) -> tuple[NDArray[np.float32], NDArray[Any]]:
    """Encode rows with their labels.

    Args:
        table: with the columns of the schema.
        schema: what the sites agreed on.
        label: the column of labels.
        rare: what happens to rows whose label is not among the classes, since no site has enough of them:
            `refuse` raises an error; `other` leaves them out with a WARNING.

    Returns:
        Inputs float32 (n, d), and labels: class numbers int64 (n,) if the label is a text, otherwise numbers
        float32 (n,), scaled to mean 0 and deviation 1 over all sites.

    Raises:
        DataError: a column is missing or of another kind, or a label is not among the classes.
    """
    if isinstance(_find_label(schema, label), Categorical):
        classes = list_classes(schema, label)
        table = table if rare == "refuse" else leave_out_others(table, label, classes)
        return encode_inputs(table, schema, label), _number(table, classes, label)
    scaled = scale_label(_get(table, schema, label), schema, label)
    return encode_inputs(table, schema, label), scaled.astype(np.float32)


def encode_inputs(table: Table, schema: Schema, label: str) -> NDArray[np.float32]:
    """Encode rows without their labels, which the table need not have.

    Returns:
        float32 (n, d), in the order of the schema's columns.

    Raises:
        DataError: a column is missing or of another kind.
    """
    _check_memory(table, schema, label)
    parts = []
    for name, column in schema.items():
        if name == label:
            continue
        values = _get(table, schema, name)
        parts.append(_scale(values, column) if isinstance(column, Numeric) else _one_hot(values, column))
    if not parts:
        raise DataError(f"{table.path}: no column but the label {label!r}; expected at least one")
    return np.concatenate(parts, axis=1)


def scale_label(values: Any, schema: Schema, label: str) -> Any:
    """Scale numbers of the label, in an array of any kind, to mean 0 and deviation 1 over all sites."""
    column = _find_number(schema, label)
    return (values - column.mean) / column.std


def unscale_label(values: Any, schema: Schema, label: str) -> Any:
    """Return the numbers of the label that were scaled, in an array of any kind."""
    column = _find_number(schema, label)
    return values * column.std + column.mean


def read_examples(path: Path, schema: Schema, label: str, form: CsvFormat) -> NDArray[np.float32]:
    """Read the rows of a CSV file as inputs; the file needs no labels, and other columns are not read.

    Returns:
        float32 (n, d).

    Raises:
        DataError: the file cannot be read, or lacks a column.
    """
    names = [name for name in schema if name != label]
    table = read_columns(find_files(path), form, choose_kinds(schema, names), _expect(names))
    return encode_inputs(table, schema, label)


def choose_kinds(schema: Schema, names: list[str]) -> Mapping[str, Kind]:
    """Return the kinds of columns."""
    return {name: "numeric" if isinstance(schema[name], Numeric) else "categorical" for name in names}


def list_classes(schema: Schema, label: str) -> tuple[str, ...]:
    """Return the names of the classes, in the order of the network's outputs.

    Raises:
        DataError: the label is not categorical, or has fewer than two distinct classes.
    """
    column = _find_label(schema, label)
    if isinstance(column, Numeric):
        raise DataError(f"label {label!r}: numeric; expected a categorical column")
    if len(column.values) < 2:  # noqa: PLR2004 - one class cannot be confused with another
        raise DataError(
            f"label {label!r}: the sites agreed on {len(column.values)} classes"
            f" ({list_names(column.values)}); expected at least 2, each with MIN_GROUP rows at a site"
        )
    # One site may write 1 where another one writes 1.0.
    spellings: dict[float, str] = {}
    for value in column.values:
        number = _to_number(value)
        if number in spellings:
            raise DataError(
                f"label {label!r}: the sites write the same class as {spellings[number]!r} and {value!r};"
                " expected one spelling at all sites"
            )
        if number is not None:
            spellings[number] = value
    return column.values


def _to_number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _find_label(schema: Schema, label: str) -> Column:
    if label not in schema:
        raise DataError(f"label {label!r}: not a column of the schema; expected one of {list_names(schema)}")
    return schema.columns[label]


def _find_number(schema: Schema, label: str) -> Numeric:
    column = _find_label(schema, label)
    if isinstance(column, Categorical):
        raise DataError(f"label {label!r}: categorical; expected a numeric column")
    return column


def _check_memory(table: Table, schema: Schema, label: str) -> None:
    """Check that the inputs fit into memory, in which they are twice while they are put together."""
    widths = {
        name: 1 + column.has_missing if isinstance(column, Numeric) else len(column.values) + 1
        for name, column in schema.columns.items()
        if name != label
    }
    inputs = sum(widths.values())
    needed = 2 * _ITEM_BYTES * len(table) * inputs
    limit = memory.find_limit() or memory.find_physical()
    if needed > limit.size:
        widest = max(widths, key=lambda name: widths[name])
        raise DataError(
            f"{table.path}: {len(table)} rows of {inputs} inputs need {show_megabytes(needed)} of memory;"
            f" expected at most {limit.name}={show_setting(limit.size)}: ignore columns of many values, such"
            f" as {printable(widest)!r} with {widths[widest]} inputs"
        )


def _get(table: Table, schema: Schema, name: str) -> NDArray[Any]:
    """Return the values of a column, which are of the schema's kind."""
    if name not in table.columns:
        fail(table.path, 1, f"no column {name!r}; expected {_expect(list(schema))}")
    values = table.columns[name]
    is_numeric = isinstance(schema[name], Numeric)
    if is_numeric == (values.dtype == object):
        kinds = ("numeric", "categorical") if is_numeric else ("categorical", "numeric")
        fail(
            table.path,
            1,
            f"column {name!r} is {kinds[1]}; expected a {kinds[0]} column, as the sites agreed: declare it"
            f" {kinds[0]}",
        )
    return values


def _scale(values: NDArray[np.float64], column: Numeric) -> NDArray[np.float32]:
    is_missing = np.isnan(values)
    scaled = np.where(is_missing, 0, (values - column.mean) / column.std)
    inputs = [scaled, is_missing] if column.has_missing else [scaled]
    return np.asarray(np.stack(inputs, axis=1), np.float32)


def _one_hot(values: NDArray[Any], column: Categorical) -> NDArray[np.float32]:
    places = {value: place for place, value in enumerate(column.values)}
    other = len(places)
    inputs = np.zeros((len(values), other + 1), np.float32)
    inputs[np.arange(len(values)), [places.get(value, other) for value in values]] = 1
    return inputs


def _number(table: Table, classes: tuple[str, ...], label: str) -> NDArray[np.int64]:
    numbers = {value: number for number, value in enumerate(classes)}
    found = np.array([numbers.get(value, -1) for value in table.columns[label]], np.int64)
    if (found < 0).any():
        index = int((found < 0).argmax())
        path, line = table.place(index)
        text = printable(table.columns[label][index][:60])
        fail(
            path,
            line,
            f"label {text!r}; expected a class that the sites agreed on ({list_names(classes)}): delete such"
            ' rows, set the option rare: "other" to leave them out, or lower MIN_GROUP at this site',
        )
    return found


def _expect(names: list[str]) -> str:
    return f"the columns that the sites agreed on: {list_names(names)}"
