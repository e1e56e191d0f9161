"""Summarizes the columns of this site's data for the schema, and logs all that the summary reveals."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from client.task_errors import task_errors
from client.task_functions import Options, describe, find_optional, pass_by_name, reading
from client.task_import import import_task
from fedmx.errors import DataError, SettingsError
from fedmx.log import event, printable
from fedmx.schema import MAX_COLUMNS, MAX_TEXT, MAX_VALUES, Schema
from fedmx.summary import ColumnSummary, Numbers, Summary, Texts, merge

# Values are logged in lines of at most this many characters.
_LINE = 200
# One value alone may need a longer line, which the log does not cut off yet.
_LONGEST = 400


def has_columns(name: str) -> bool:
    """Whether the sites have to agree on columns of their data before a task can be built.

    Raises:
        SettingsError: there is no such module, it cannot be imported, or a required function is missing.
    """
    return find_optional(import_task(name), "columns") is not None


def read_columns(name: str, options: Options, data_dir: Path) -> Any:
    """Return what a task's `columns` returns for this site's data.

    Raises:
        SettingsError: it raises an exception.
        DataError: the data cannot be read.
    """
    module = import_task(name)
    arguments = pass_by_name(module.columns, data_dir=data_dir, options=options)
    with task_errors(name, "columns()"), reading(data_dir):
        return module.columns(**arguments)


def summarize(task_name: str, columns: Any, min_group: int) -> Summary:
    """Summarize the columns that a task returned.

    Args:
        task_name: the task's name.
        columns: column's name -> its values, as the task's `columns` returned them.
        min_group: MIN_GROUP: nothing is revealed about fewer rows.

    Raises:
        SettingsError: it is not a mapping of arrays.
        DataError: a column has numbers or texts that cannot be used.
    """
    if not isinstance(columns, Mapping) or not 0 < len(columns) <= MAX_COLUMNS:
        raise SettingsError(
            f"TASK={task_name}: columns() returned {describe(columns)}; expected 1 to {MAX_COLUMNS} numpy"
            " arrays by name, such as {'age': ages}"
        )
    return {str(name): _summarize(task_name, str(name), v, min_group) for name, v in columns.items()}


def agree_alone(task_name: str, options: Options, data_dir: Path, min_group: int) -> Schema | None:
    """Return the schema of this site's data alone; None if the task has no columns to agree on.

    Raises:
        SettingsError: the task's code raises an exception.
        DataError: the data cannot be read or used.
    """
    if not has_columns(task_name):
        return None
    columns = read_columns(task_name, options, data_dir)
    return merge({"this site": summarize(task_name, columns, min_group)})


def log_revealed(summary: Summary) -> None:
    """Log every number and every text that a summary sends to the server."""
    for name, column in summary.items():
        if isinstance(column, Numbers):
            # A float is logged with fewer digits than are sent.
            event(
                "revealed to the server",
                column=name,
                count=column.count,
                mean=json.dumps(column.mean),
                variance=json.dumps(column.variance),
                has_missing=column.has_missing,
            )
            continue
        for values in _split(column.values):
            event("revealed to the server", column=name, values=values)


def _split(values: tuple[str, ...]) -> Iterator[str]:
    """Yield the values as JSON lists that are short enough for a line of the log."""
    line: list[str] = []
    for value in values:
        if line and len(_to_line([*line, value])) > _LINE:
            yield _to_line(line)
            line = []
        line.append(value)
    yield _to_line(line)


def _to_line(values: list[str]) -> str:
    """Return values as a JSON list that the log shows as it is: without unprintable characters."""
    text = json.dumps(values, ensure_ascii=False)
    return text if text.isprintable() else json.dumps(values)


def _summarize(task_name: str, name: str, values: Any, min_group: int) -> ColumnSummary:
    place = f"TASK={task_name}: column {name!r}"
    if len(name) > MAX_TEXT:
        raise DataError(f"{place}: its name has {len(name)} characters; expected at most {MAX_TEXT}")
    if len(printable(name)) == _LONGEST:
        raise DataError(f"{place}: its name is too long for the log; expected fewer control characters")
    if not isinstance(values, np.ndarray) or values.ndim != 1:
        raise SettingsError(
            f"{place}: columns() returned {describe(values)} for it; expected a numpy array with one value"
            " per row"
        )
    if values.dtype.kind in "buif":
        return _summarize_numbers(place, values.astype(np.float64), min_group)
    if values.dtype.kind in "UO" and all(isinstance(value, str) for value in values):
        return _summarize_texts(place, values, min_group)
    raise SettingsError(f"{place}: its dtype is {values.dtype}; expected numbers or texts")


def _summarize_numbers(place: str, values: NDArray[np.float64], min_group: int) -> Numbers:
    present = values[~np.isnan(values)]
    missing = len(values) - len(present)
    has_missing = missing >= min_group
    if len(present) < min_group:
        return Numbers(0, 0.0, 0.0, has_missing)
    if np.abs(present).max() > np.finfo(np.float32).max:
        raise DataError(
            f"{place}: it has {np.abs(present).max():g}; expected numbers that float32 can represent"
        )
    # The number of present values would reveal how many are missing.
    count = len(present) if has_missing else len(values)
    return Numbers(count, float(present.mean()), float(present.var()), has_missing)


def _summarize_texts(place: str, values: NDArray[Any], min_group: int) -> Texts:
    # numpy's arrays of texts have room for the longest one in every row.
    counts = Counter(map(str, values.tolist()))
    revealed = tuple(sorted(value for value, count in counts.items() if count >= min_group))
    if len(revealed) > MAX_VALUES:
        raise DataError(
            f"{place}: it has {len(revealed)} values; expected at most {MAX_VALUES}: leave out columns that"
            " identify rows"
        )
    too_long = next((value for value in revealed if len(value) > MAX_TEXT), None)
    if too_long is not None:
        raise DataError(
            f"{place}: a value begins with {too_long[:20]!r} and has {len(too_long)} characters; expected at"
            f" most {MAX_TEXT}"
        )
    unprintable = next((value for value in revealed if len(_to_line([value])) > _LONGEST), None)
    if unprintable is not None:
        raise DataError(
            f"{place}: a value begins with {unprintable[:20]!r} and is too long for a line of the log;"
            " expected fewer control characters"
        )
    return Texts(revealed)
