"""Reads the columns of CSV files as numbers or texts.

A column is numeric if all of its values that are not missing are numbers, unless the caller declares a kind.
Numbers are stored as float64 only: the texts of a large file would not fit into memory.
"""

import math
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from client.data.csv_rows import Chunk, CsvFormat, CsvRows, fail, open_rows
from client.data.table import Table
from fedmx.log import printable

MISSING = frozenset(["", "NA", "N/A", "NaN", "nan", "NULL", "null", "None", "?"])
"""The texts that mean a missing value."""

Kind: TypeAlias = Literal["numeric", "categorical"]

_DECIMAL_COMMA = re.compile(r"-?\d+,\d+")
_DECIMAL_POINT = re.compile(r"-?\d+\.\d+")
# A decimal comma may have three digits after it too, but not in most values of a column.
_THOUSANDS = re.compile(r"-?\d{1,3}(,\d{3})+(\.\d+)?")
_LARGEST = float(np.finfo(np.float32).max)
# A column with this share of numbers is one with mistakes.
_MOSTLY = 0.9
_NAN = math.nan


@dataclass
class _Column:
    """What is known of a column while its file is read.

    Attributes:
        name: its name.
        kind: its declared kind.
        is_text: whether its values are kept as texts.
        was_numeric: whether numbers were kept before the first text was found.
        chunks: its values.
        texts: each different text, so that equal ones are one object.
    """

    name: str
    kind: Kind | None
    is_text: bool
    was_numeric: bool = False
    chunks: list[NDArray[Any]] = field(default_factory=list)
    texts: dict[str, str] = field(default_factory=dict)

    def add(self, path: Path, lines: list[int], values: list[str], form: CsvFormat) -> None:
        """Add the values of some rows."""
        numbers = None if self.is_text else _parse_numbers(values, form)
        if numbers is None:
            if self.kind == "numeric":
                self._reject_text(path, lines, values, form)
            self.was_numeric = self.was_numeric or (not self.is_text and bool(self.chunks))
            self.is_text = True
            known = self.texts
            same = ["" if value in MISSING else known.setdefault(value, value) for value in values]
            self.chunks.append(np.array(same, dtype=object))
            return
        is_too_large = np.abs(numbers) > _LARGEST
        if is_too_large.any():
            index = int(is_too_large.argmax())
            fail(
                path,
                lines[index],
                f"column {self.name!r} has {_show(values[index])}; expected a number that float32 can"
                " represent, or no value if it is unknown",
            )
        self.chunks.append(numbers)

    def _reject_text(self, path: Path, lines: list[int], values: list[str], form: CsvFormat) -> None:
        index = next(i for i, value in enumerate(values) if not is_number(value, form))
        remedy = "correct it, or delete it if it is unknown"
        if form.decimal != "," and _DECIMAL_COMMA.fullmatch(values[index]):
            remedy = 'set the option decimal: ",", or remove commas between thousands'
        elif form.decimal == "," and _DECIMAL_POINT.fullmatch(values[index]):
            remedy = 'set the option decimal: "."'
        fail(
            path,
            lines[index],
            f"column {self.name!r} has {_show(values[index])}; expected a number: {remedy}",
        )


def read_columns(
    paths: Sequence[Path], form: CsvFormat, kinds: Mapping[str, Kind | None], expected: str
) -> Table:
    """Read some columns of files that have the same columns.

    Args:
        paths: the files.
        form: how they are written.
        kinds: name -> kind of each column to read; None: inferred from its values.
        expected: what an error expects if a file lacks one of these columns.

    Raises:
        DataError: a file cannot be read, lacks a column, or has a value that its column cannot have.
    """
    table, late = _read(paths, form, kinds, expected)
    if late:
        # A text came after numbers, whose own texts are needed now: read these columns again.
        texts: dict[str, Kind | None] = dict.fromkeys(late, "categorical")
        table, _ = _read(paths, form, {**kinds, **texts}, expected)
    for name, values in table.columns.items():
        if kinds[name] is None and values.dtype == object:
            _check_kind(table, name, form)
    return table


def is_number(text: str, form: CsvFormat) -> bool:
    """Whether a text is a number or means a missing one."""
    return _parse_numbers([text], form) is not None


def count_texts(values: NDArray[Any]) -> Counter[str]:
    """Return how often each text of a column occurs; those that are missing are left out."""
    counts = Counter(values.tolist())
    del counts[""]
    return counts


def _read(
    paths: Sequence[Path], form: CsvFormat, kinds: Mapping[str, Kind | None], expected: str
) -> tuple[Table, Collection[str]]:
    """Return the table, and the names of columns of which some numbers were not kept as texts."""
    columns = [_Column(name, kind, kind == "categorical") for name, kind in kinds.items()]
    lines: list[NDArray[np.int64]] = []
    files: list[NDArray[np.int64]] = []
    for number, path in enumerate(paths):
        count = sum(map(len, lines))
        with ExitStack() as stack:
            rows = stack.enter_context(open_rows(path, form))
            places = _find_places(rows, kinds, expected)
            for chunk in rows.chunks:
                _add(path, chunk, columns, places, form)
                lines.append(np.array(chunk.lines, np.int64))
        added = sum(map(len, lines)) - count
        if not added:
            fail(path, rows.line, "no rows after the header; expected at least one")
        files.append(np.full(added, number, np.int64))
    table = Table(
        {column.name: np.concatenate(column.chunks) for column in columns if not column.was_numeric},
        np.concatenate(lines),
        tuple(paths),
        np.concatenate(files),
    )
    return table, [column.name for column in columns if column.was_numeric]


def _add(path: Path, chunk: Chunk, columns: list[_Column], places: list[int], form: CsvFormat) -> None:
    for column, place in zip(columns, places, strict=True):
        column.add(path, chunk.lines, chunk.columns[place], form)


def _find_places(rows: CsvRows, kinds: Mapping[str, Kind | None], expected: str) -> list[int]:
    for name in kinds:
        if name not in rows.names:
            fail(rows.path, rows.line, f"no column {name!r}; expected {expected}")
    return [rows.names.index(name) for name in kinds]


def _parse_numbers(values: list[str], form: CsvFormat) -> NDArray[np.float64] | None:
    """Return the numbers, NaN for each that is missing; None if one is a text."""
    joined = " ".join(values)
    # Python reads 1_000 as a number.
    if "_" in joined:
        return None
    if form.decimal != ".":
        if "." in joined:
            return None
        values = [value.replace(form.decimal, ".") for value in values]
    try:
        return np.array([_NAN if value in MISSING else float(value) for value in values])
    except ValueError:
        return None


def _check_kind(table: Table, name: str, form: CsvFormat) -> None:
    """Check that a column of texts is not one of numbers with mistakes."""
    counts = count_texts(table.columns[name])
    texts = {text: count for text, count in counts.items() if not is_number(text, form)}
    total, others = sum(counts.values()), sum(texts.values())
    first = next(i for i, value in enumerate(table.columns[name]) if value in texts)
    path, line = table.place(first)
    found = f"column {name!r} has {_show(table.columns[name][first])}"
    remedy = _find_remedy(texts, form)
    if remedy:
        fail(path, line, f"{found}; expected numbers {remedy}, or declare the column categorical")
    if total - others >= _MOSTLY * total:
        share = f"{total - others} of {total} values"
        fail(
            path,
            line,
            f"{found}, but {share} are numbers; expected a number: correct the value, delete it if it is"
            " unknown, or declare the column categorical",
        )


def _find_remedy(texts: Mapping[str, int], form: CsvFormat) -> str | None:
    """Return what to do if most texts of a column are numbers in another notation; None if they are not."""
    remedies = {
        _THOUSANDS: "without commas between thousands: remove them",
        _DECIMAL_COMMA: 'with a decimal point: set the option decimal: ","',
    }
    if form.decimal == ",":
        remedies = {_DECIMAL_POINT: 'with a decimal comma: set the option decimal: "."'}
    for pattern, remedy in remedies.items():
        if sum(count for text, count in texts.items() if pattern.fullmatch(text)) > sum(texts.values()) / 2:
            return remedy
    return None


def _show(text: str) -> str:
    return repr(printable(text[:60]))
