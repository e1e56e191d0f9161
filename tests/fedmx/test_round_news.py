"""What messages say about a run: the same text for the same history, and nothing from the wire is trusted."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedmx.round_news import MAX_TEXT, Result, RoundNews

LINE: dict[str, Any] = {
    "round": 3,
    "nodes": [{}, {}],
    "train": {"num_examples": 5, "metrics": {"loss": 0.5}},
    "evaluate": {"num_examples": 5, "metrics": {"loss": 0.1 + 0.2, "accuracy": 1.0}, "confusion": [[1]]},
}


def test_a_result_is_that_of_the_evaluation_and_survives_the_round_trip() -> None:
    result = Result.from_line(LINE)
    assert result == Result(3, 2, {"loss": 0.1 + 0.2, "accuracy": 1.0})
    assert Result.parse(result.to_text()) == result


def test_a_result_without_an_evaluation_is_that_of_the_training() -> None:
    assert Result.from_line({**LINE, "evaluate": None}).metrics == {"train_loss": 0.5}
    assert Result.from_line({**LINE, "evaluate": None, "train": None}).metrics == {}


def test_the_text_of_a_line_is_the_same_once_the_line_was_read_from_the_history() -> None:
    again = json.loads(json.dumps(LINE))
    assert Result.from_line(again).to_text() == Result.from_line(LINE).to_text()


@pytest.mark.parametrize(
    "metrics",
    [
        {f"m{number}": 1.0 for number in range(99)},
        {f"{number:02}" + "\U0001f600" * 62: 1.1 for number in range(20)},
        {"x" * 65: 1.0},
    ],
)
def test_metrics_beyond_the_limits_are_left_out(metrics: dict[str, float]) -> None:
    text = Result(1, 1, metrics).to_text()
    assert len(text) <= MAX_TEXT
    assert Result.parse(text) is not None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[" * MAX_TEXT,
        "null",
        '{"round": 1, "nodes": 1, "metrics": []}',
        '{"round": true, "nodes": 1, "metrics": {}}',
        '{"round": 1, "nodes": -1, "metrics": {}}',
        '{"round": 1, "nodes": 1, "metrics": {"a": NaN}}',
        '{"round": 1, "nodes": 1, "metrics": {"a": null}}',
        '{"round": 1, "nodes": 1, "metrics": {"a": ' + "9" * 400 + "}}",
        json.dumps({"round": 1, "nodes": 1, "metrics": {"x" * 65: 1}}),
        json.dumps({"round": 1, "nodes": 1, "metrics": dict.fromkeys(map(str, range(21)), 1)}),
        json.dumps({"round": 1, "nodes": 1, "metrics": {}}) + " " * MAX_TEXT,
    ],
)
def test_a_text_that_is_no_result_is_ignored(text: str) -> None:
    assert Result.parse(text) is None


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(st.text() | _JSON.map(json.dumps) | st.fixed_dictionaries(dict.fromkeys(LINE, _JSON)).map(json.dumps))
def test_no_text_raises(text: str) -> None:
    Result.parse(text)


def test_a_config_has_what_is_known_and_nothing_else() -> None:
    news = RoundNews("20260101-000000-ab12", 5, "text")
    assert RoundNews.from_config(news.to_config()) == news
    assert RoundNews().to_config() == {}


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"run-id": 1, "num-rounds": True, "federation-result": b""},
        {"run-id": "", "num-rounds": -1, "federation-result": "x" * (MAX_TEXT + 1)},
        {"run-id": "x" * 129, "num-rounds": 10**10, "federation-result": ["a"]},
    ],
)
def test_what_is_missing_or_invalid_is_unknown(config: dict[str, object]) -> None:
    assert RoundNews.from_config(config) == RoundNews()
