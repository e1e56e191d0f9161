"""Facts as JSON that every parser accepts."""

import json
import math

from client import json_lines


def test_numbers_that_json_lacks_become_null() -> None:
    facts = {"a": math.nan, "b": [1.5, -math.inf, {"c": math.inf}], "d": None, "e": "NaN", "f": 3}
    assert json.loads(json_lines.to_line(facts)) == {
        "a": None,
        "b": [1.5, None, {"c": None}],
        "d": None,
        "e": "NaN",
        "f": 3,
    }
