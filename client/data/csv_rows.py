"""Reads the rows of a CSV file as texts; an error names the file and the line.

The first row has the names of the columns. Blank lines are skipped, and so is white space around a value.
"""

import csv
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, NoReturn

from fedmx.errors import DataError, SettingsError
from fedmx.files import disk_errors

# Enough rows to make the overhead of a chunk negligible, and few enough for any memory.
_CHUNK = 4096
_DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}
# How files begin that are not UTF-8, and what they are.
_SIGNATURES = {
    b"\x1f\x8b": "a gzip file; expected text: unpack it",
    b"PK\x03\x04": "a zip file or a workbook; expected text: unpack it, or save the table as CSV",
    b"\xff\xfe": 'UTF-16; expected UTF-8: save the file again, or set the option encoding: "utf-16"',
    b"\xfe\xff": 'UTF-16; expected UTF-8: save the file again, or set the option encoding: "utf-16"',
}
# How Python represents bytes that are not valid in an encoding.
_ESCAPED = re.compile("[\udc80-\udcff]")
_DIGITS = re.compile(r"-?\d+")


@dataclass(frozen=True)
class CsvFormat:
    """How a CSV file is written.

    Attributes:
        delimiter: one character between two values.
        decimal: the decimal separator of numbers, `.` or `,`.
        encoding: name of the text's encoding, as Python knows it.

    Raises:
        SettingsError: a value is not valid.
    """

    delimiter: str = ","
    decimal: str = "."
    encoding: str = "utf-8"

    def __post_init__(self) -> None:
        if len(self.delimiter) != 1 or self.delimiter in '"\r\n\0':
            raise SettingsError(f"delimiter={self.delimiter!r}: expected one character, such as ';' or '\\t'")
        if self.decimal not in (".", ","):
            raise SettingsError(f"decimal={self.decimal!r}: expected '.' or ','")
        try:
            "".encode(self.encoding)
        # Names with odd characters are a ValueError.
        except (LookupError, ValueError):
            raise SettingsError(
                f"encoding={self.encoding!r}: unknown; expected an encoding such as 'utf-8', 'utf-8-sig' or"
                " 'cp1252'"
            ) from None


@dataclass(frozen=True)
class Chunk:
    """Some rows of a file.

    Attributes:
        lines: the number of the line on which each row begins, from 1.
        columns: the texts of each column, in the order of the header.
    """

    lines: list[int]
    columns: list[list[str]]


@dataclass(frozen=True)
class CsvRows:
    """An open file.

    Attributes:
        path: of the file.
        line: the number of the header's line.
        names: of the columns.
        chunks: the rows, which can be read once.
    """

    path: Path
    line: int
    names: list[str]
    chunks: Iterator[Chunk]


def fail(path: Path, line: int, problem: str) -> NoReturn:
    """Raise an error that names a line.

    Raises:
        DataError: always.
    """
    raise DataError(f"{path}:{line}: {problem}")


@contextmanager
def open_rows(path: Path, form: CsvFormat) -> Iterator[CsvRows]:
    """Open a file and read its header.

    Raises:
        DataError: the file cannot be read, its header is not valid, or a row differs from the header.
    """
    with (
        disk_errors(path, reads=True),
        path.open(encoding=form.encoding, errors="surrogateescape", newline="") as file,
    ):
        # Without `strict`, a quote that is never closed makes the rest of a file one value.
        reader = csv.reader(_check_lines(path, file, form), delimiter=form.delimiter, strict=True)
        rows = _number_rows(path, reader, form)
        line, names = next(rows, (1, []))
        if not names:
            fail(path, 1, "empty file; expected a header with the names of the columns, and rows")
        names = [name.strip() for name in names]
        _check_header(path, line, names, form)
        yield CsvRows(path, line, names, _read_chunks(path, rows, len(names), form))


def _check_lines(path: Path, lines: Iterable[str], form: CsvFormat) -> Iterator[str]:
    for number, line in enumerate(lines, 1):
        if number == 1 and line.startswith("\ufeff"):
            fail(
                path,
                1,
                "begins with a byte order mark; expected UTF-8 without one: save the file again, or set the"
                ' option encoding: "utf-8-sig", which reads files with and without one',
            )
        if number == 1:
            _check_start(path, line)
        if not line.isascii():
            _check_bytes(path, number, line, form)
        if "\0" in line:
            fail(path, number, "a NUL character; expected text: the file is damaged, binary, or UTF-16")
        yield line


def _check_start(path: Path, line: str) -> None:
    """Check that a file which is read as UTF-8 does not begin like one of another kind."""
    start = line[: max(map(len, _SIGNATURES))].encode(errors="surrogateescape")
    problem = next((problem for bytes_, problem in _SIGNATURES.items() if start.startswith(bytes_)), None)
    if problem:
        fail(path, 1, problem)


def _check_bytes(path: Path, number: int, line: str, form: CsvFormat) -> None:
    found = _ESCAPED.search(line)
    if found:
        byte = ord(found[0]) - 0xDC00
        fail(
            path,
            number,
            f"byte 0x{byte:02x} is not {form.encoding}; expected {form.encoding} text: save the file as"
            ' UTF-8, or set the option encoding, such as "cp1252"',
        )


def _number_rows(path: Path, reader: Any, form: CsvFormat) -> Iterator[tuple[int, list[str]]]:
    """Yield each row that is not blank, with the number of the line on which it begins."""
    start = 1
    try:
        for row in reader:
            is_blank = not row or (len(row) == 1 and row[0].isspace())
            if not is_blank:
                yield start, row
            start = reader.line_num + 1
    except csv.Error as error:
        fail(path, start, _explain(str(error)))
    except UnicodeError as error:
        raise DataError(
            f"{path}: cannot be decoded ({error}); expected text in the encoding {form.encoding}"
        ) from None


def _explain(error: str) -> str:
    if "expected after" in error:
        return (
            "text follows a closing quote; expected a delimiter: a quote within a quoted value is written"
            ' twice, ""'
        )
    expected = 'expected a second " at the end of the value'
    if "field larger" in error:
        most = csv.field_size_limit()
        return f"a quote is not closed, or a value has more than {most} characters; {expected}"
    return f"a quote is not closed; {expected}"


def _check_header(path: Path, line: int, names: list[str], form: CsvFormat) -> None:
    others = [char for char in _DELIMITERS if char != form.delimiter and char in names[0]]
    if len(names) == 1 and others:
        other = max(others, key=names[0].count)
        found = _DELIMITERS.get(form.delimiter, repr(form.delimiter))
        fail(
            path,
            line,
            f"one column, {names[0][:60]!r}; expected columns with {found} between them: set the option"
            f" delimiter: {_quote(other)}, or save the file with {found}",
        )
    for number, name in enumerate(names, 1):
        if not name:
            fail(
                path,
                line,
                f"column {number} of {len(names)} has no name; expected one: name or delete the column"
                " (pandas writes one for row numbers, unless index=False)",
            )
        first = names.index(name) + 1
        if first < number:
            fail(path, line, f"columns {first} and {number} are both named {name!r}; expected distinct names")


def _read_chunks(
    path: Path, rows: Iterator[tuple[int, list[str]]], width: int, form: CsvFormat
) -> Iterator[Chunk]:
    lines: list[int] = []
    found: list[list[str]] = []
    for line, row in rows:
        if len(row) != width:
            fail(
                path, line, f"{len(row)} values; expected {width}, as in the header{_guess(row, width, form)}"
            )
        lines.append(line)
        found.append(row)
        if len(found) == _CHUNK:
            yield _transpose(lines, found)
            lines, found = [], []
    if found:
        yield _transpose(lines, found)


def _transpose(lines: list[int], rows: list[list[str]]) -> Chunk:
    return Chunk(lines, [[value.strip() for value in column] for column in zip(*rows, strict=True)])


def _guess(row: list[str], width: int, form: CsvFormat) -> str:
    """Return the probable cause of a row of another length, with its remedy."""
    if len(row) > width:
        are_halves = any(_DIGITS.fullmatch(a.strip()) and b.strip().isdigit() for a, b in pairwise(row))
        if form.delimiter == "," and are_halves:
            return (
                ": numbers with a decimal comma need another delimiter or quotes, and the option decimal:"
                ' ","; a text with a comma needs quotes'
            )
        return f": put a text that contains {_quote(form.delimiter)} in quotes"
    other = next((c for c in _DELIMITERS if c != form.delimiter and any(c in value for value in row)), None)
    if other:
        return f": the row seems to have {_DELIMITERS[other]} as delimiters"
    return ": the row is incomplete, or the file was cut off"


def _quote(char: str) -> str:
    return '"\\t"' if char == "\t" else f'"{char}"'
