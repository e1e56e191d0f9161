"""Reads tables from CSV files, and finds mistakes in them that a model would learn from silently."""

from collections.abc import Collection
from dataclasses import replace
from functools import cache
from pathlib import Path

from client.data.csv_columns import Kind, read_columns
from client.data.csv_rows import CsvFormat, fail, open_rows
from client.data.rare import Rare, check_rare
from client.data.table import Table
from client.data.table_checks import check_label, check_texts, leave_out_single
from fedmx.errors import DataError, SettingsError
from fedmx.files import disk_errors
from fedmx.listing import list_names
from fedmx.log import warn

# The files of a folder that has a test set of its own.
_DIVIDED = ["train.csv", "test.csv"]


def read_csv(  # noqa: PLR0913 - one argument for each property of a file
    path: Path | str,
    *,
    label: str | None = None,
    numeric: Collection[str] = (),
    categorical: Collection[str] = (),
    ignore: Collection[str] = (),
    delimiter: str = ",",
    decimal: str = ".",
    encoding: str = "utf-8",
    rare: Rare = "refuse",
) -> Table:
    """Read a CSV file, or the CSV files of a folder, whose first row has the names of the columns.

    A folder with `train.csv` and `test.csv` has a test set of its own. Otherwise all its files `*.csv` are
    read in the order of their names. A value is missing if it is empty, NA, N/A, NaN, nan, NULL, null, None
    or ?. A column is numeric if all values that are not missing are numbers.

    Args:
        path: a file or a folder.
        label: name of a column that has a value in every row.
        numeric: columns that have numbers only.
        categorical: columns whose values are texts, even if they look like numbers.
        ignore: columns that are not read.
        delimiter: one character between two values.
        decimal: the decimal separator, `.` or `,`.
        encoding: name of the text's encoding; `utf-8-sig` is UTF-8 with a byte order mark.
        rare: what happens if only one row has some text: `refuse` raises an error, since it is probably
            misspelled; `other` keeps it, and leaves out the row if the text is its label, with a WARNING.

    Raises:
        DataError: a file cannot be read or has a mistake; the error names file and line.
        SettingsError: an argument is not valid.
    """
    check_rare(rare)
    form = CsvFormat(delimiter, decimal, encoding)
    kinds: dict[str, Kind | None] = {}
    kinds.update(dict.fromkeys(numeric, "numeric"))
    kinds.update(dict.fromkeys(categorical, "categorical"))
    _check_arguments(label, (numeric, categorical, ignore))
    paths = find_files(Path(path))
    names = _read_names(paths, form, [*kinds, *([label] if label else [])])
    _warn_of_absent(paths[0], names, ignore)
    found = {name: kinds.get(name) for name in names if name not in ignore}
    table = read_columns(paths, form, found, f"the columns of {paths[0]}")
    if [each.name for each in paths] == _DIVIDED:
        table = replace(table, in_test=table.files == 1)
    if label is not None:
        check_label(table, label)
    if rare == "refuse":
        check_texts(table)
    return table if label is None else leave_out_single(table, label)


def find_files(path: Path) -> list[Path]:
    """Return the CSV file of a path, or those of a folder.

    Raises:
        DataError: there are none.
    """
    if not path.is_dir():
        if not path.exists():
            raise DataError(f"{path}: no such file or folder; expected a CSV file, or a folder with one")
        # A pipe can be read only once, and without a writer its reader would wait.
        if not path.is_file():
            raise DataError(f"{path}: not a regular file; expected a CSV file, or a folder with one")
        return [path]
    with disk_errors(path, reads=True):
        files = sorted(each for each in path.iterdir() if _is_csv(each))
    divided = [path / name for name in _DIVIDED]
    if set(divided) <= set(files):
        return divided
    if not files:
        raise DataError(
            f"{path}: no CSV file found; expected train.csv and test.csv, or another file with a name that"
            " ends in .csv"
        )
    return files


def _is_csv(path: Path) -> bool:
    return path.suffix.lower() == ".csv" and not path.name.startswith(".") and path.is_file()


def _check_arguments(label: str | None, lists: tuple[Collection[str], ...]) -> None:
    names = ("numeric", "categorical", "ignore")
    for name, columns in zip(names, lists, strict=True):
        if isinstance(columns, str):
            raise SettingsError(f"{name}={columns!r}: expected a list of columns, such as [{columns!r}]")
    if label in lists[2]:
        raise SettingsError(f"the label column {label!r} is in ignore; expected other columns there")
    for column in {column for columns in lists for column in columns}:
        found = [name for name, columns in zip(names, lists, strict=True) if column in columns]
        if len(found) > 1:
            raise SettingsError(f"column {column!r} is in {' and '.join(found)}; expected one of them")


def _read_names(paths: list[Path], form: CsvFormat, needed: list[str]) -> list[str]:
    """Return the names of the columns, which are the same in all files."""
    with open_rows(paths[0], form) as rows:
        names = rows.names
        absent = [name for name in needed if name not in names]
        if absent:
            fail(
                rows.path,
                rows.line,
                f"no column {absent[0]!r}; expected one of {list_names(names)}: correct the option label,"
                " numeric or categorical",
            )
    for path in paths[1:]:
        with open_rows(path, form) as rows:
            more = sorted(set(rows.names) - set(names))
            if more:
                fail(
                    path,
                    rows.line,
                    f"also has {list_names(more)}; expected the columns of {paths[0]}",
                )
    return names


def _warn_of_absent(path: Path, names: list[str], ignore: Collection[str]) -> None:
    # Another site may have such a column.
    absent = [name for name in ignore if name not in names]
    if absent:
        _warn_once(path, list_names(absent))


@cache
def _warn_once(path: Path, columns: str) -> None:
    """Log the columns of a file, which is read again whenever a node gets another share of it."""
    warn("columns to ignore not found", file=path, columns=columns)
