"""Writes facts as JSON, in which NaN and infinities become null."""

import json
import math
from collections.abc import Mapping
from typing import Any


def to_line(facts: Mapping[str, Any]) -> str:
    """Return facts as one line of JSON."""
    return json.dumps(_replace(facts), allow_nan=False)


def _replace(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _replace(entry) for name, entry in value.items()}
    if isinstance(value, list):
        return [_replace(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
