"""Numbers that people and scripts assign to settings, and which of them a setting accepts."""

import contextlib
import dataclasses
from typing import TypeVar

from fedmx.errors import SettingsError
from fedmx.settings import load

S = TypeVar("S")

_NUMBERS = """
    0 -0 0.0 +1 -1 007 1e-300 5e-324 1e-40 1e-9 0.5 0.9999999999999999 1 1. .5 2 1e3 36524 1e9 1e10 1e18 1e30
    1e38 1e300 1e308 1e309 inf -inf Infinity nan 1_000 0x10 1e + . 1,5 10s true \u0661 \uff11
"""
_POWERS = [str(2**bits + more) for bits in (31, 32, 53, 63, 64) for more in (-1, 0, 1)]

EXTREMES = frozenset((*_NUMBERS.split(), *_POWERS, "1 000", str(10**30), "9" * 5000, "0" * 5000 + "1"))


def list_numeric(kind: type) -> list[str]:
    """Return the names of the settings that are numbers."""
    fields = dataclasses.fields(kind)
    return [field.name.upper() for field in fields if field.type in (int, float, int | None)]


def list_accepted(kind: type[S], name: str) -> dict[str, S]:
    """Return the extremes that a setting accepts, each with the settings it leads to."""
    accepted = {}
    for text in sorted(EXTREMES):
        with contextlib.suppress(SettingsError):
            accepted[text] = load(kind, environ={name: text})
    return accepted
