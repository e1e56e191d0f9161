"""Which nodes can work beside each other."""

from typing import Any

import pytest
from flwr.app import ConfigRecord

from server.compatibility import find_difference
from tests.server.nodes import NullNode


def describe(**entries: Any) -> ConfigRecord:
    return NullNode(description={name.replace("_", "-"): value for name, value in entries.items()}).describe()


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ({"task": "other"}, "its task is other, expected null"),
        ({"metrics": ["accuracy", "f1"]}, "its metrics is f1, expected loss"),
        ({"metrics": ["accuracy"]}, "its metrics is of 1 entries, expected 2"),
        ({"train_metrics": ["f1"]}, "its train-metrics is f1, expected accuracy"),
        (
            {"arrays": ['["0.weight", "float32", [2, 4], "trained"]']},
            (
                'its arrays is ["0.weight", "float32", [2, 4], "trained"],'
                ' expected ["0.weight", "float32", [2, 3], "trained"]'
            ),
        ),
        ({"labels_sha256": "cd"}, "its labels-sha256 is cd, expected ab"),
    ],
)
def test_a_difference_is_named_with_what_was_expected(entries: dict[str, Any], expected: str) -> None:
    assert find_difference(describe(**entries), describe(), is_shared=True) == expected


def test_sites_with_data_of_their_own_may_have_other_labels() -> None:
    assert find_difference(describe(labels_sha256="cd"), describe(), is_shared=False) is None


def test_the_amount_of_data_may_differ_between_nodes() -> None:
    assert find_difference(describe(train_examples=5), describe(), is_shared=True) is None


def test_a_description_that_lacks_something_differs() -> None:
    other = describe()
    del other["metrics"]
    assert find_difference(other, describe(), is_shared=True) == "its metrics is missing"
