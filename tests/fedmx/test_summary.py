"""What sites reveal about their columns, and how it is combined: compared with numpy on all rows at once."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedmx.schema import Categorical, Numeric, Schema
from fedmx.summary import Numbers, Summary, Texts, from_json, merge, to_json

_number = st.floats(-1e6, 1e6)


def summarize(values: list[float]) -> Numbers:
    array = np.array(values)
    return Numbers(len(values), float(array.mean()), float(array.var()), has_missing=False)


def test_two_sites_have_the_mean_and_the_deviation_of_all_rows() -> None:
    # By hand: 1, 3 and 5, 7, 9 have mean 5, and squared deviations 16 + 4 + 0 + 4 + 16 over five rows.
    merged = merge({"b": {"age": summarize([5, 7, 9])}, "a": {"age": summarize([1, 3])}})
    assert merged["age"] == Numeric(5.0, np.sqrt(8.0))


@given(st.lists(st.lists(_number, min_size=1, max_size=20), min_size=1, max_size=4))
def test_any_division_of_rows_leads_to_the_numbers_of_the_pooled_rows(sites: list[list[float]]) -> None:
    merged = merge({str(index): {"x": summarize(rows)} for index, rows in enumerate(sites)})["x"]
    pooled = np.concatenate(sites)
    assert isinstance(merged, Numeric)
    assert merged.mean == pytest.approx(pooled.mean(), rel=1e-9, abs=1e-6)
    if pooled.std() > 1e-6 * abs(pooled).max():
        assert merged.std == pytest.approx(pooled.std(), rel=1e-6, abs=1e-6)


def test_the_order_of_the_sites_does_not_change_a_bit() -> None:
    sites = {str(index): {"x": summarize([index / 3, index / 7, 0.1])} for index in range(7)}
    backwards = dict(reversed(sites.items()))
    assert merge(sites).to_json() == merge(backwards).to_json()


def test_a_column_of_equal_numbers_has_deviation_one() -> None:
    rows = summarize([0.1] * 10)
    assert merge({"a": {"x": rows}, "b": {"x": rows}})["x"] == Numeric(0.1, 1.0)


def test_sites_with_too_few_numbers_do_not_count() -> None:
    silent = Numbers(0, 0.0, 0.0, has_missing=True)
    assert merge({"a": {"x": summarize([1, 3])}, "b": {"x": silent}})["x"] == Numeric(2.0, 1.0, True)
    assert merge({"a": {"x": silent}})["x"] == Numeric(0.0, 1.0, True)


def test_values_of_all_sites_are_united_and_sorted() -> None:
    merged = merge({"a": {"sex": Texts(("m", "x"))}, "b": {"sex": Texts(("f", "m"))}})
    assert merged["sex"] == Categorical(("f", "m", "x"))


def test_columns_are_in_the_order_of_the_first_site_by_name() -> None:
    text = Texts(("v",))
    assert list(merge({"b": {"x": text, "y": text}, "a": {"y": text, "x": text}})) == ["y", "x"]


def test_every_difference_between_sites_is_named() -> None:
    number, text = summarize([1]), Texts(("1",))
    sites: dict[str, Summary] = {"a": {"x": number, "y": text}, "b": {"x": text, "y": text}, "c": {"x": text}}
    with pytest.raises(ValueError, match="numeric") as caught:
        merge(sites)
    assert str(caught.value) == (
        "column 'x' is numeric at a and categorical at b, c; "
        "column 'y' is categorical at a, b and missing at c"
    )


def test_a_site_without_numbers_in_a_column_that_others_have_as_texts_is_named_so() -> None:
    sites: dict[str, Summary] = {
        "a": {"x": Texts(("1",))},
        "b": {"x": Numbers(0, 0.0, 0.0, has_missing=True)},
    }
    with pytest.raises(ValueError, match="is without numbers at b and categorical at a"):
        merge(sites)


def test_a_message_names_only_the_first_of_many_columns_that_differ() -> None:
    sites: dict[str, Summary] = {
        "a": {str(number): Texts(("v",)) for number in range(10_000)},
        "b": {"x": Texts(("v",))},
    }
    with pytest.raises(ValueError, match="9996 more columns differ") as caught:
        merge(sites)
    assert len(str(caught.value)) < 1000


def test_a_summary_comes_back_from_its_json() -> None:
    summary: Summary = {
        "age": Numbers(3, 0.1, 1e-7, has_missing=True),
        "bmi": Numbers(0, 0.0, 0.0, has_missing=False),
        "sex": Texts(("", "f", "ä")),
    }
    assert from_json(to_json(summary)) == summary


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '"x"',
        '{"a": 1}',
        '{"a": {"values": [1]}}',
        '{"a": {"values": 1}}',
        '{"a": {"count": -1, "mean": 0, "variance": 0, "has_missing": false}}',
        '{"a": {"count": 1, "mean": NaN, "variance": 0, "has_missing": false}}',
        '{"a": {"count": 1, "mean": 1e300, "variance": 0, "has_missing": false}}',
        '{"a": {"count": 1, "mean": 0, "variance": -1, "has_missing": false}}',
        '{"a": {"count": 1, "mean": 0, "variance": Infinity, "has_missing": false}}',
        '{"a": {"count": 1e400, "mean": 0, "variance": 1, "has_missing": false}}',
        '{"a": {"count": 1, "mean": 0}}',
        json.dumps({"x" * 201: {"values": []}}),
        json.dumps({"x": {"values": ["v" * 201]}}),
        json.dumps({"x": {"values": [str(number) for number in range(10_001)]}}),
        json.dumps({str(number): {"values": []} for number in range(10_001)}),
        '{"a": {"values": ["\\ud800"]}}',
        "[" * 100_000,
    ],
    ids=range(20),
)
def test_what_no_site_can_have_sent_is_rejected(text: str) -> None:
    with pytest.raises(ValueError, match=r"summary|columns|name"):
        from_json(text)


def test_a_schema_comes_back_from_its_json() -> None:
    schema = Schema({"age": Numeric(1.5, 2.5, True), "sex": Categorical(("f", "m"))})
    assert Schema.from_json(schema.to_json()) == schema
    assert (len(schema), list(schema)) == (2, ["age", "sex"])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1",
        "[]",
        '{"a": 1}',
        '{"a": {"values": [1]}}',
        '{"a": {"mean": 1}}',
        '{"a": {"mean": 1, "std": 0, "has_missing": false}}',
        '{"a": {"mean": NaN, "std": 1, "has_missing": false}}',
    ],
)
def test_what_is_no_schema_is_rejected(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - JSON's own message, or that of the column
        Schema.from_json(text)
