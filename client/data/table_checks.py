"""Finds mistakes in a table that a model would learn from silently: missing labels and misspelled texts."""

from collections.abc import Collection
from typing import Any

import numpy as np
from numpy.typing import NDArray

from client.data.csv_columns import count_texts
from client.data.csv_rows import fail
from client.data.table import Table
from fedmx.errors import DataError
from fedmx.listing import list_names
from fedmx.log import printable, warn

# With fewer rows than this, texts that occur once prove nothing about a column.
_FEW = 20


def check_label(table: Table, label: str) -> None:
    """Check that every row has a label, and that there are other columns.

    Raises:
        DataError: a row has none, or there is no other column.
    """
    values = table.columns[label]
    is_missing = values == "" if values.dtype == object else np.isnan(values)
    if is_missing.any():
        path, line = table.place(int(is_missing.argmax()))
        fail(path, line, f"no value in the label column {label!r}; expected one: add it, or delete the row")
    if len(table.columns) == 1:
        fail(table.path, 1, f"no column but the label {label!r}; expected at least one to predict it from")


def check_texts(table: Table) -> None:
    """Check that no column has a text that only one row has.

    Raises:
        DataError: a column has one; the first is named.
    """
    for name, values in table.columns.items():
        single = find_single(values)
        if single:
            _reject(table, name, single)


def leave_out_single(table: Table, label: str) -> Table:
    """Return the rows whose label some other row has too, and log a WARNING for each of the others.

    Raises:
        DataError: there are no such rows.
    """
    values = table.columns[label]
    single = find_single(values)
    if not single:
        return table
    is_left_out = np.array([value in single for value in values])
    for index in np.flatnonzero(is_left_out):
        path, line = table.place(int(index))
        warn("row left out", file=path, line=line, reason="no other row has its label", label=values[index])
    if is_left_out.all():
        raise DataError(f"{table.path}: no two rows have the same label in {label!r}; expected classes")
    return table.select(~is_left_out)


def leave_out_others(table: Table, label: str, classes: Collection[str]) -> Table:
    """Return the rows whose label is one of the classes, and log a WARNING if there are others.

    Raises:
        DataError: there are no such rows.
    """
    is_known = np.isin(table.columns[label].astype(str), list(classes))
    if is_known.all():
        return table
    if not is_known.any():
        raise DataError(
            f"{table.path}: no row has one of the classes that the sites agreed on; expected some of"
            f" {list_names(classes)}"
        )
    path, line = table.place(int(is_known.argmin()))
    warn("rows left out", file=path, rows=int((~is_known).sum()), first_line=line, reason="rare labels")
    return table.select(is_known)


def find_single(values: NDArray[Any]) -> Collection[str]:
    """Return the texts of a column that occur once; none for numbers."""
    if values.dtype != object:
        return ()
    return {text for text, count in count_texts(values).items() if count == 1}


def _reject(table: Table, name: str, single: Collection[str]) -> None:
    values = table.columns[name]
    index = next(i for i, value in enumerate(values) if value in single)
    path, line = table.place(index)
    if len(single) > len(table) / 2 and len(table) > _FEW:
        problem = (
            f"column {name!r}: {len(single)} of {len(table)} rows have a text that no other row has; expected"
            " categories: ignore a column of names or identifiers, and declare a label that is a number"
            ' numeric (problem: "regression")'
        )
    else:
        problem = (
            f"column {name!r} has {printable(values[index][:60])!r} in this row only; expected a category"
            ' with several rows: correct it if it is misspelled, or set the option rare: "other"'
        )
    fail(path, line, problem)
