"""CSV files: what a table has, and the error of each wrong file, with its line."""

import csv
import gzip
import io
import logging
import os
import string
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from client.data import read_csv
from client.data.csv_columns import MISSING
from fedmx.errors import DataError, SettingsError

GOOD = "age,sex,label\n61,f,yes\n48,m,no\n,f,no\n55,m,yes\n"
# So many rows that a file is read in several chunks.
MANY = 9000


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "patients.csv"


def fail(path: Path, content: str | bytes, line: int | None, **how: Any) -> str:
    """Return the error of reading a file, which is one line that names the file and the line."""
    with pytest.raises(DataError) as error:
        read_csv(write(path, content), **how)
    message = str(error.value)
    assert message.startswith(f"{path}:{line}: " if line else f"{path}: ")
    assert "\n" not in message
    assert "; expected " in message
    return message


def test_a_column_of_numbers_is_numeric_and_any_other_is_categorical(path: Path) -> None:
    table = read_csv(write(path, GOOD), label="label")
    np.testing.assert_array_equal(table.columns["age"], [61, 48, np.nan, 55])
    assert table.columns["age"].dtype == np.float64
    assert table.columns["sex"].tolist() == ["f", "m", "f", "m"]
    assert table.columns["label"].tolist() == ["yes", "no", "no", "yes"]
    assert table.rows.tolist() == [2, 3, 4, 5]
    assert (table.path, len(table)) == (path, 4)


def test_each_marker_of_a_missing_value_is_one_in_numbers_and_in_texts(path: Path) -> None:
    rows = "".join(f"{marker},{marker}\n" for marker in sorted(MISSING))
    table = read_csv(write(path, f"a,b\n1,x\n2,x\n{rows}"))
    assert np.isnan(table.columns["a"]).sum() == len(MISSING) == 9
    assert table.columns["b"].tolist() == ["x", "x", *[""] * len(MISSING)]


def test_white_space_around_values_and_blank_lines_are_skipped_and_lines_are_the_files(path: Path) -> None:
    table = read_csv(write(path, "a , b\n\n 1 ,x \r\n\n2, x\n"))
    assert table.columns["a"].tolist() == [1, 2]
    assert table.columns["b"].tolist() == ["x", "x"]
    assert table.rows.tolist() == [3, 5]


def test_a_row_with_line_breaks_in_quotes_has_the_number_of_its_first_line(path: Path) -> None:
    table = read_csv(write(path, 'a,b\n1,"x\ny"\n2,"x\ny"\n3,"x\ny"\n'))
    assert table.rows.tolist() == [2, 4, 6]
    assert table.columns["b"][0] == "x\ny"


def test_declared_kinds_come_before_those_of_the_values(path: Path) -> None:
    table = read_csv(
        write(path, "ward,id,empty\n1,a,\n1,b,\n2,c,\n2,d,\n"), categorical=["ward", "empty"], ignore=["id"]
    )
    assert table.columns["ward"].tolist() == ["1", "1", "2", "2"]
    assert table.columns["empty"].tolist() == [""] * 4
    assert "id" not in table.columns


def test_a_column_without_any_value_is_numeric(path: Path) -> None:
    assert np.isnan(read_csv(write(path, "a,b\n1,\n2,\n")).columns["b"]).all()


def test_a_file_of_german_excel_is_read_by_options(path: Path) -> None:
    content = "größe;ort\n1,5;Köln\n-2,25;Köln\n".encode("cp1252")
    table = read_csv(write(path, content), delimiter=";", decimal=",", encoding="cp1252")
    assert table.columns["größe"].tolist() == [1.5, -2.25]
    assert table.columns["ort"].tolist() == ["Köln", "Köln"]


def test_a_byte_order_mark_is_read_with_utf_8_sig(path: Path) -> None:
    assert list(read_csv(write(path, b"\xef\xbb\xbf" + GOOD.encode()), encoding="utf-8-sig").columns) == [
        "age",
        "sex",
        "label",
    ]


def test_texts_that_follow_a_chunk_of_numbers_leave_the_numbers_as_they_were_written(path: Path) -> None:
    codes = ["007"] * MANY + ["x"] * MANY
    table = read_csv(write(path, "code\n" + "\n".join(codes)))
    assert table.columns["code"].tolist() == codes
    assert table.rows[-1] == 2 * MANY + 1


def test_a_mistake_in_a_later_chunk_has_its_line(path: Path) -> None:
    rows = ["1,2\n"] * MANY
    assert "3 values" in fail(path, "a,b\n" + "".join(rows) + "1,2,3\n", MANY + 2)
    assert "'x'" in fail(path, "a,b\n" + "".join(rows) + "1,x\n", MANY + 2)
    assert "'inf'" in fail(path, "a,b\n" + "".join(rows) + "1,inf\n", MANY + 2)


FLAWED: dict[str, tuple[str | bytes, int, dict[str, Any], str]] = {
    "empty file": ("", 1, {}, "empty file"),
    "blank lines only": ("\n\n", 1, {}, "empty file"),
    "header only": ("age,label\n", 1, {}, "no rows"),
    "no label column": ("age,sex\n1,f\n2,f\n", 1, {"label": "label"}, "age, sex"),
    "duplicate name": ("age,sex,age\n1,f,2\n", 1, {}, "'age'"),
    "no name": (",age\n0,1\n", 1, {}, "column 1 of 2"),
    "row too long": ("a,b\n1,2\n1,2,x\n", 3, {}, "3 values; expected 2"),
    "row too long by a decimal comma": ("a,b\n1,5,2\n", 2, {}, "decimal"),
    "row too short": ("a,b,c\n1,2,3\n1,2\n", 3, {}, "2 values; expected 3"),
    "row with another delimiter": ("a,b\n1,2\n1;2\n", 3, {}, "semicolons"),
    "semicolons": ("age;sex\n1;f\n", 1, {}, 'delimiter: ";"'),
    "tabs": ("age\tsex\n1\tf\n", 1, {}, 'delimiter: "\\t"'),
    "vertical bars": ("age|sex\n1|f\n", 1, {}, 'delimiter: "|"'),
    "commas where semicolons are set": ("age,sex\n1,f\n", 1, {"delimiter": ";"}, 'delimiter: ","'),
    "byte order mark": (b"\xef\xbb\xbf" + GOOD.encode(), 1, {}, "utf-8-sig"),
    "Latin-1": ("a,b\n1,x\n2,é\n".encode("latin-1"), 3, {}, "0xe9"),
    "UTF-16": (GOOD.encode("utf-16"), 1, {}, 'encoding: "utf-16"'),
    "gzip": (gzip.compress(GOOD.encode()), 1, {}, "gzip"),
    "workbook": (b"PK\x03\x04\x14\x00", 1, {}, "workbook"),
    "thousands": ('a\n"1,080"\n"2,500"\n', 2, {}, "thousands"),
    "decimal points where commas are set": ("a\n1.5\n2.5\n", 2, {"decimal": ","}, 'decimal: "."'),
    "number beyond float32": ("a\n1\n1e39\n", 3, {}, "'1e39'"),
    "endless value": ("a,b\n1," + 200_000 * "x" + "\n", 2, {}, "characters"),
    "decimal commas": ('a,b\n1,"1,5"\n2,"2,5"\n', 2, {}, 'decimal: ","'),
    "decimal commas among whole numbers": ("a;b\n1;1\n2;2\n3;2,5\n", 4, {"delimiter": ";"}, 'decimal: ","'),
    "decimal comma in a declared column": ('a\n1\n"1,5"\n', 3, {"numeric": ["a"]}, 'decimal: ","'),
    "text in a column of numbers": ("a\n" + "1\n" * 9 + "x\n", 11, {}, "9 of 10"),
    "text in a declared column": ("a\n1\nx\nx\n", 3, {"numeric": ["a"]}, "'x'"),
    "decimal point where a comma is set": ("a\n1\n1.5\n", 3, {"numeric": ["a"], "decimal": ","}, "'1.5'"),
    "underscore in a number": ("a\n1\n1_000\n", 3, {"numeric": ["a"]}, "'1_000'"),
    "infinity": ("a\n1\n-inf\n", 3, {}, "'-inf'"),
    "too large a number": ("a\n1\n1e999\n", 3, {}, "'1e999'"),
    "category of one row": ("sex\nf\nm\nm\nff\nf\n", 5, {}, "'ff'"),
    "label of one row": ("a,label\n1,yes\n2,yes\n3,yse\n", 4, {"label": "label"}, "'yse'"),
    "a name per row": ("name\n" + "".join(f"n{i}\n" for i in range(30)), 2, {}, "ignore"),
    "row without a label": ("a,label\n1,yes\n2,\n3,yes\n", 3, {"label": "label"}, "'label'"),
    "row without a number as label": ("a,label\n1,7\n2,NA\n", 3, {"label": "label"}, "'label'"),
    "only a label": ("label\nyes\nyes\n", 1, {"label": "label"}, "'label'"),
    "NUL": ("a,b\n1,x\n2,\0x\n", 3, {}, "NUL"),
    "unterminated quote": ('a,b\n1,x\n2,"x\n3,x\n4,x\n', 3, {}, "not closed"),
    "text after a quote": ('a,b\n1,"x"y\n', 2, {}, "closing quote"),
    "declared numeric column is missing": (GOOD, 1, {"numeric": ["height"]}, "'height'"),
    "declared categorical column is missing": (GOOD, 1, {"categorical": ["ward"]}, "age, sex, label"),
}


@pytest.mark.parametrize("flaw", FLAWED)
def test_a_wrong_file_is_an_error_of_one_line_with_file_line_and_cause(path: Path, flaw: str) -> None:
    content, line, how, cause = FLAWED[flaw]
    assert cause in fail(path, content, line, **how)


def test_a_path_that_is_not_there_or_has_no_csv_file_is_an_error(tmp_path: Path) -> None:
    for missing in (tmp_path / "absent", tmp_path):
        with pytest.raises(DataError, match="expected") as error:
            read_csv(missing)
        assert str(error.value).startswith(f"{missing}: no ")


def test_a_pipe_is_an_error_instead_of_a_wait(path: Path) -> None:
    os.mkfifo(path)
    with pytest.raises(DataError, match="not a regular file; expected"):
        read_csv(path)


def test_utf_16_without_a_mark_is_an_error_that_names_the_encoding(path: Path) -> None:
    content = b"\x00".join(bytes([char]) for char in b"a,b\n1,2\n") + b"\x00"
    assert "NUL" in fail(path, content, 1)
    assert "utf-16" in fail(path, content, None, encoding="utf-16")


@pytest.mark.parametrize(
    "how",
    [
        {"delimiter": ";;"},
        {"decimal": "x"},
        {"encoding": "utf-7000"},
        {"encoding": "utf\0-8"},
        {"encoding": "undefined"},
        {"rare": "drop"},
        {"label": "sex", "ignore": ["sex"]},
        {"numeric": ["age"], "ignore": ["age"]},
        {"ignore": "age"},
    ],
)
def test_a_wrong_argument_is_an_error_of_one_line(path: Path, how: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match="expected") as error:
        read_csv(write(path, GOOD), **how)
    assert "\n" not in str(error.value)


def test_a_column_to_ignore_that_this_file_lacks_is_one_warning(
    path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("fedmx"), "propagate", True)
    for _ in range(2):
        read_csv(write(path, GOOD), ignore=["patient_id"])
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert "patient_id" in record.getMessage()


def test_rare_texts_are_kept_by_option_and_rows_with_a_rare_label_are_left_out_with_a_warning(
    path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("fedmx"), "propagate", True)
    write(path, "sex,label\nf,yes\nf,no\nff,no\nf,nno\nf,yes\n")
    table = read_csv(path, label="label", rare="other")
    assert table.columns["sex"].tolist() == ["f", "f", "ff", "f"]
    assert table.rows.tolist() == [2, 3, 4, 6]
    (record,) = caplog.records
    assert f"file={path} line=5" in record.getMessage()
    assert "nno" in record.getMessage()


TEXTS = st.text(string.ascii_letters + "äß ,;\"\n'.-", min_size=1, max_size=8).filter(
    lambda text: text.strip() and text.strip() not in MISSING
)


@settings(deadline=None, max_examples=60)
@given(
    rows=st.lists(
        st.tuples(st.floats(-3e38, 3e38), TEXTS, st.none() | st.integers(-999, 999)),
        min_size=1,
        max_size=20,
    ),
    delimiter=st.sampled_from(",;\t|"),
    end=st.sampled_from(["\n", "\r\n"]),
)
def test_what_pythons_csv_module_writes_is_read_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, rows: list[Any], delimiter: str, end: str
) -> None:
    text = io.StringIO()
    writer = csv.writer(text, delimiter=delimiter, lineterminator=end)
    writer.writerow(["number", "text", "whole"])
    writer.writerows(rows)
    path = write(tmp_path_factory.mktemp("rows") / "rows.csv", text.getvalue())
    table = read_csv(path, delimiter=delimiter, categorical=["text"], rare="other")
    assert table.columns["number"].tolist() == [number for number, _, _ in rows]
    assert table.columns["text"].tolist() == [text.strip() for _, text, _ in rows]
    for found, (_, _, expected) in zip(table.columns["whole"], rows, strict=True):
        assert np.isnan(found) if expected is None else found == expected
