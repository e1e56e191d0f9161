"""What a site reveals about its columns: nothing about fewer rows than MIN_GROUP, and all of it is logged."""

import json
import logging
from typing import Any

import numpy as np
import pytest

from client.site_summary import log_revealed, summarize
from fedmx.errors import FederationError
from fedmx.log import printable
from fedmx.summary import Numbers, Texts, to_json


def summarize_one(values: Any, min_group: int = 5) -> Any:
    return summarize("their_task", {"x": values}, min_group)["x"]


def test_numbers_are_revealed_as_count_mean_and_variance() -> None:
    assert summarize_one(np.array([1, 2, 3, 4, 10])) == Numbers(5, 4.0, 10.0, has_missing=False)


def test_a_column_with_fewer_numbers_than_the_minimum_tells_none_of_them() -> None:
    values = np.array([1.0, 2.0, 3.0, 4.0, *[np.nan] * 20])
    assert summarize_one(values) == Numbers(0, 0.0, 0.0, has_missing=True)


def test_how_many_are_missing_is_not_revealed_if_they_are_few() -> None:
    values = np.array([1.0] * 10 + [np.nan] * 4)
    assert summarize_one(values) == Numbers(14, 1.0, 0.0, has_missing=False)
    values = np.array([1.0] * 10 + [np.nan] * 5)
    assert summarize_one(values) == Numbers(10, 1.0, 0.0, has_missing=True)


def test_values_of_too_few_rows_are_not_revealed() -> None:
    values = np.array(["f"] * 5 + ["m"] * 4 + ["x"] + [""] * 5)
    assert summarize_one(values) == Texts(("", "f"))
    assert summarize_one(values, 4) == Texts(("", "f", "m"))
    assert summarize_one(values.astype(object), 1) == Texts(("", "f", "m", "x"))


def test_a_long_text_needs_no_memory_in_the_other_rows() -> None:
    texts = np.array(["f"] * 200_000, object)
    texts[0] = "x" * 10_000_000
    assert summarize_one(texts) == Texts(("f",))


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        (None, "None"),
        ({}, "dict"),
        ({"x": [1, 2]}, "list"),
        ({"x": np.zeros((2, 2))}, "ndarray"),
        ({"x": np.array([object()])}, "object"),
        ({"x": np.array([b"bytes"])}, "|S5"),
        ({"x": np.array([1e39] * 9)}, "1e+39"),
        ({"x": np.array([np.inf] * 9)}, "inf"),
        ({"x" * 201: np.zeros(9)}, "its name has 201 characters"),
        ({"x": np.array(["v" * 201] * 9)}, "201 characters"),
        ({"\x1b" * 150: np.zeros(9)}, "too long for the log"),
        ({"x": np.array(["\x01" * 100] * 9)}, "too long for a line of the log"),
        ({"x": np.repeat(np.arange(10_001).astype(str), 5)}, "10001 values"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_columns_that_cannot_be_summarized_are_refused_by_name(columns: Any, reason: str) -> None:
    with pytest.raises(FederationError) as caught:
        summarize("their_task", columns, 5)
    message = str(caught.value)
    assert message.startswith("TASK=their_task: ")
    assert reason in message
    assert caught.value.exit_code == 2


def test_every_number_and_every_value_that_is_sent_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    random = np.random.default_rng(0)
    told = [f'value {number} "quoted" ä' for number in range(300)]
    texts = np.repeat([*told, *(f"{number}\u200b\x1b[2J" for number in range(300))], 5)
    columns = {"x": random.normal(size=1500), "y z": texts}
    summary = summarize("their_task", columns, 5)
    sent = json.loads(to_json(summary))
    with caplog.at_level(logging.INFO, "fedmx"):
        log_revealed(summary)
    logged: dict[str, dict[str, Any]] = {}
    for record in caplog.records:
        fields: dict[str, Any] = record.__dict__["fields"]
        # A line of the log is cut at 400 characters.
        assert printable(fields.get("values", "")) == fields.get("values", "")
        column = logged.setdefault(fields["column"], {})
        if "values" in fields:
            column.setdefault("values", []).extend(json.loads(fields["values"]))
        else:
            column.update(
                {name: json.loads(str(v).lower()) for name, v in fields.items() if name != "column"}
            )
    assert logged == sent
