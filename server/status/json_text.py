"""Encodes values as JSON that browsers accept."""

import json
import math
from collections.abc import Mapping
from typing import Any


def encode(value: Any) -> str:
    """Encode a value as JSON. It has no numbers that are not finite: they become null."""
    try:
        return json.dumps(value, allow_nan=False, separators=(",", ":"), default=str)
    except ValueError:
        return json.dumps(_make_finite(value), separators=(",", ":"), default=str)


def _make_finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {name: _make_finite(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_make_finite(entry) for entry in value]
    return value
