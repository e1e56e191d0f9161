"""Tables as inputs and labels: compared with numbers that were worked out by hand."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from client.data import (
    CsvFormat,
    Table,
    encode,
    encode_inputs,
    list_classes,
    read_csv,
    read_examples,
    unscale_label,
)
from fedmx import memory
from fedmx.errors import DataError
from fedmx.schema import Categorical, Numeric, Schema

SCHEMA = Schema(
    {
        "age": Numeric(50, 10, has_missing=True),
        "bmi": Numeric(25, 5),
        "sex": Categorical(("f", "m")),
        "label": Categorical(("no", "yes")),
    }
)
PRICES = Schema({"rooms": Numeric(3, 2), "price": Numeric(200, 50)})
ROWS = "label,sex,bmi,age,id\nyes,m,30,60,7\nno,f,NA,,8\nno,x,20,45,9\nyes,,25,50,9\n"
# age, whether it is missing, bmi, f, m, any other text
INPUTS = [
    [1.0, 0, 1, 0, 1, 0],
    [0.0, 1, 0, 1, 0, 0],
    [-0.5, 0, -1, 0, 0, 1],
    [0.0, 0, 0, 0, 0, 1],
]


def read(folder: Path, content: str) -> Table:
    (folder / "rows.csv").write_text(content)
    return read_csv(folder / "rows.csv", rare="other")


def test_numbers_are_scaled_and_texts_have_an_input_for_each_value(tmp_path: Path) -> None:
    inputs, labels = encode(read(tmp_path, ROWS), SCHEMA, "label")
    assert inputs.dtype == np.float32
    assert inputs.tolist() == INPUTS
    assert labels.dtype == np.int64
    assert labels.tolist() == [1, 0, 0, 1]


def test_a_missing_text_that_the_sites_agreed_on_has_an_input_of_its_own(tmp_path: Path) -> None:
    schema = Schema({"sex": Categorical(("", "f", "m")), "label": Categorical(("no", "yes"))})
    assert encode_inputs(read(tmp_path, ROWS), schema, "label").tolist() == [
        [0, 0, 1, 0],
        [0, 1, 0, 0],
        [0, 0, 0, 1],
        [1, 0, 0, 0],
    ]


def test_a_numeric_label_is_scaled_and_decoded(tmp_path: Path) -> None:
    inputs, labels = encode(read(tmp_path, "rooms,price\n3,250\n5,100\n"), PRICES, "price")
    assert inputs.tolist() == [[0], [1]]
    assert labels.dtype == np.float32
    assert labels.tolist() == [1, -2]
    assert unscale_label(labels, PRICES, "price").tolist() == [250, 100]


@settings(deadline=None)
@given(
    st.lists(st.floats(-1e6, 1e6), min_size=1),
    st.floats(-1e6, 1e6),
    st.floats(1e-3, 1e6),
)
def test_decoding_is_the_inverse_of_scaling(values: list[float], mean: float, std: float) -> None:
    schema = Schema({"x": Numeric(0, 1), "y": Numeric(mean, std)})
    column, rows = np.array(values), np.arange(len(values))
    table = Table({"x": column, "y": column}, rows, (Path("a.csv"),), rows * 0)
    _, labels = encode(table, schema, "y")
    distance = np.abs(column - mean).max()
    np.testing.assert_allclose(
        unscale_label(labels.astype(np.float64), schema, "y"), column, atol=1e-6 * distance + 1e-6
    )


def test_rows_without_a_label_are_read_as_inputs_and_other_columns_are_not_read(tmp_path: Path) -> None:
    path = tmp_path / "new.csv"
    path.write_text("sex;note;bmi;age\nm;1,5;30;60\nf;x;;\nx;inf;20;45\n;y;25;50\n")
    assert read_examples(path, SCHEMA, "label", CsvFormat(delimiter=";")).tolist() == INPUTS


def test_codes_that_look_like_numbers_are_texts_if_the_sites_agreed_so(tmp_path: Path) -> None:
    schema = Schema({"ward": Categorical(("1", "A")), "label": Categorical(("no", "yes"))})
    path = tmp_path / "new.csv"
    path.write_text("ward\n1\n2\n")
    assert read_examples(path, schema, "label", CsvFormat()).tolist() == [[1, 0, 0], [0, 0, 1]]
    with pytest.raises(DataError) as error:
        encode_inputs(read_csv(path), schema, "label")
    assert str(error.value).startswith(f"{path}:1: column 'ward' is numeric; expected a categorical column")


@pytest.mark.parametrize(
    ("content", "line", "cause"),
    [
        ("sex,bmi,label\nf,30,no\n", 1, "'age'"),
        ("age,sex,bmi,label\n50,f,30,no\n50,f,thin,no\n", 3, "'thin'"),
    ],
)
def test_a_file_to_predict_that_differs_from_the_schema_is_an_error_with_its_line(
    tmp_path: Path, content: str, line: int, cause: str
) -> None:
    path = tmp_path / "new.csv"
    path.write_text(content)
    with pytest.raises(DataError) as error:
        read_examples(path, SCHEMA, "label", CsvFormat())
    assert str(error.value).startswith(f"{path}:{line}: ")
    assert cause in str(error.value)
    assert "\n" not in str(error.value)


def test_a_column_that_only_the_schema_has_is_an_error_that_lists_the_columns(tmp_path: Path) -> None:
    table = read(tmp_path, "sex,bmi,label\nf,30,no\n")
    with pytest.raises(DataError) as error:
        encode(table, SCHEMA, "label")
    expected = "no column 'age'; expected the columns that the sites agreed on: age, bmi, sex, label"
    assert str(error.value) == f"{table.path}:1: {expected}"


def test_a_label_that_the_sites_did_not_agree_on_is_an_error_with_file_and_line(tmp_path: Path) -> None:
    table = read(tmp_path, ROWS + "perhaps,f,25,50,9\n")
    with pytest.raises(DataError) as error:
        encode(table, SCHEMA, "label")
    assert str(error.value).startswith(f"{table.path}:6: label 'perhaps'; expected ")
    assert "no, yes" in str(error.value)


def test_rows_with_a_label_that_is_no_class_are_left_out_if_rare_ones_may_be(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    more = "maybe,m,30,60,1\nmaybe,f,30,60,2\n"
    inputs, labels = encode(read(tmp_path, ROWS + more), SCHEMA, "label", rare="other")
    assert inputs.tolist() == INPUTS
    assert labels.tolist() == [1, 0, 0, 1]
    assert "rows left out" in caplog.text
    assert "rows=2 first_line=6" in caplog.text


def test_a_site_without_any_of_the_classes_is_an_error(tmp_path: Path) -> None:
    table = read(tmp_path, "label,sex,bmi,age\nmaybe,m,30,60\nmaybe,f,30,60\n")
    with pytest.raises(DataError, match="no row has one of the classes"):
        encode(table, SCHEMA, "label", rare="other")


@pytest.mark.parametrize(
    "column",
    [Categorical(("yes",)), Categorical(()), Categorical(("0", "1", "1.0")), Numeric(0, 1)],
    ids=["one class", "no class", "one class in two spellings", "numbers"],
)
def test_labels_that_are_no_classes_are_an_error(column: Categorical | Numeric) -> None:
    with pytest.raises(DataError, match="expected"):
        list_classes(Schema({"age": Numeric(0, 1), "label": column}), "label")


def test_classes_are_in_the_order_of_the_schema() -> None:
    assert list_classes(SCHEMA, "label") == ("no", "yes")
    with pytest.raises(DataError, match="outcome"):
        list_classes(SCHEMA, "outcome")


def test_inputs_that_do_not_fit_into_memory_are_an_error_that_names_the_widest_column(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "x.csv").write_text(ROWS)
    table = read_csv(tmp_path / "x.csv", ignore=["id"], categorical=["sex"], rare="other")
    # Four rows of six inputs, twice, with four bytes each.
    monkeypatch.setattr(memory, "find_limit", lambda: memory.Limit(192, "memory.max"))
    assert encode_inputs(table, SCHEMA, "label").shape == (4, 6)
    monkeypatch.setattr(memory, "find_limit", lambda: memory.Limit(191, "memory.max"))
    with pytest.raises(DataError, match="'sex' with 3 inputs"):
        encode_inputs(table, SCHEMA, "label")
