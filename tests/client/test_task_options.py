"""TASK_OPTIONS against a task's names and defaults."""

from typing import Any

import pytest

from client.task_options import fill_in
from fedmx.errors import SettingsError

DEFAULTS = {"label": "label", "hidden": [64], "ignore": [], "dropout": 0.0, "augment": True, "epochs": 1}


def test_options_that_are_not_set_have_their_defaults() -> None:
    assert fill_in({}, DEFAULTS) == DEFAULTS
    set_all = {"label": "x", "hidden": [], "ignore": ["a"], "dropout": 1, "augment": False, "epochs": 2}
    assert fill_in(set_all, DEFAULTS) == set_all


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("label", 1),
        ("hidden", 64),
        ("hidden", ["64"]),
        ("hidden", [6.4]),
        ("ignore", "a"),
        ("ignore", [1]),
        ("dropout", "0.5"),
        ("dropout", True),
        ("augment", 1),
        ("epochs", 1.5),
        ("epochs", None),
    ],
)
def test_an_option_of_another_type_is_an_error_that_names_it(name: str, value: Any) -> None:
    with pytest.raises(SettingsError, match=f"TASK_OPTIONS: {name}=.*expected") as error:
        fill_in({name: value}, DEFAULTS)
    assert len(error.value.problems) == 1


def test_every_unknown_option_is_an_error_of_one_line_with_the_known_names() -> None:
    with pytest.raises(SettingsError) as error:
        fill_in({"lable": "x", "y\n": 1, "epochs": 1}, DEFAULTS)
    first, second = str(error.value).splitlines()
    assert "did you mean label?" in first
    assert first.endswith(", ".join(DEFAULTS))
    assert "y\\n" in second
