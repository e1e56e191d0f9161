"""Sizes in bytes as text: one format for messages, and one for settings of container engines.

The standard library alone: the supervisor imports it.
"""

import re

_MEGABYTE = 1_000_000
_MEBIBYTE = 1024**2
_UNITS = {"": 1, "b": 1, "k": 1024, "m": _MEBIBYTE, "g": 1024**3}
_SETTING = re.compile(r"([0-9]{1,15})([bkmg]?)")


def show_megabytes(size: int) -> str:
    """Format bytes for a message: `64.2 MB`, a megabyte being a million bytes."""
    return f"{size / _MEGABYTE:.1f} MB"


def show_setting(size: int) -> str:
    """Format bytes as container engines write them: `2g`, `1536m`; rounded up to whole mebibytes."""
    mebibytes = -(-size // _MEBIBYTE)
    gibibytes, rest = divmod(mebibytes, 1024)
    return f"{mebibytes}m" if rest else f"{gibibytes}g"


def parse_setting(text: str) -> int:
    """Parse bytes as container engines write them.

    Raises:
        ValueError: the text is not a size.
    """
    found = _SETTING.fullmatch(text.lower())
    if found is None:
        raise ValueError("expected a number of bytes, or one with the unit k, m or g, such as 512m")
    return int(found[1]) * _UNITS[found[2]]
