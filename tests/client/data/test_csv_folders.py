"""Folders of CSV files, and how the rows of a table are divided: by the files, or by a share."""

from pathlib import Path

import numpy as np
import pytest

from client.data import Table, read_csv
from fedmx.errors import DataError, SettingsError


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_a_folder_with_a_training_and_a_test_file_is_divided_by_them(tmp_path: Path) -> None:
    write(tmp_path / "train.csv", "a,b\n1,x\n2,x\n3,x\n")
    write(tmp_path / "test.csv", "b,a\nx,4\ny,5\ny,6\n")
    write(tmp_path / "notes.csv", "something else")
    table = read_csv(tmp_path)
    train, test = table.split(0.5)
    assert train.columns["a"].tolist() == [1, 2, 3]
    assert test.columns["a"].tolist() == [4, 5, 6]
    assert table.place(3) == (tmp_path / "test.csv", 2)
    assert test.place(2) == (tmp_path / "test.csv", 4)


def test_several_files_with_the_same_columns_are_read_in_the_order_of_their_names(tmp_path: Path) -> None:
    write(tmp_path / "b.csv", "x,y\n3,4\n")
    write(tmp_path / "a.CSV", "x,y\n1,2\n")
    write(tmp_path / ".a.csv", "left by an editor")
    write(tmp_path / "readme.txt", "not a table")
    table = read_csv(tmp_path)
    assert table.columns["y"].tolist() == [2, 4]
    assert table.place(1) == (tmp_path / "b.csv", 2)
    write(tmp_path / "c.csv", "x,y\n1,2\nz,2\n")
    with pytest.raises(DataError) as error:
        read_csv(tmp_path, numeric=["x"])
    assert str(error.value).startswith(f"{tmp_path / 'c.csv'}:3: ")


@pytest.mark.parametrize("header", ["x,z", "x", "x,y,z"])
def test_files_with_different_columns_are_an_error_that_names_both(tmp_path: Path, header: str) -> None:
    write(tmp_path / "a.csv", "x,y\n1,2\n")
    write(tmp_path / "b.csv", f"{header}\n{header.replace('x', '1').replace('y', '2').replace('z', '3')}\n")
    with pytest.raises(DataError) as error:
        read_csv(tmp_path)
    assert str(error.value).startswith(f"{tmp_path / 'b.csv'}:1: ")
    assert str(tmp_path / "a.csv") in str(error.value)


def make_table(count: int) -> Table:
    rows = np.arange(count)
    return Table({"a": rows.astype(np.float64)}, rows + 2, (Path("a.csv"),), np.zeros(count, np.int64))


def test_a_share_of_the_rows_is_the_test_set_and_the_same_at_every_call() -> None:
    train, test = make_table(1000).split(0.2)
    assert (len(train), len(test)) == (800, 200)
    assert sorted([*train.rows, *test.rows]) == list(range(2, 1002))
    again, _ = make_table(1000).split(0.2)
    np.testing.assert_array_equal(train.rows, again.rows)
    # Not the last rows, since a file may be sorted.
    assert 2 < test.rows.min() < 100
    assert 900 < test.rows.max() < 1001


def test_without_a_share_both_sets_are_the_whole_table_and_neither_is_ever_empty() -> None:
    table = make_table(10)
    assert [part.rows.tolist() for part in table.split(0)] == [table.rows.tolist()] * 2
    assert [len(part) for part in make_table(2).split(0.01)] == [1, 1]
    assert [len(part) for part in make_table(2).split(0.99)] == [1, 1]
    with pytest.raises(SettingsError, match="expected"):
        table.split(1.0)
