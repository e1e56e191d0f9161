"""Sizes in bytes as text: one format for messages, and one for settings of container engines.

The standard library alone: the supervisor imports it.
"""

_MEGABYTE = 1_000_000
_MEBIBYTE = 1024**2


def show_megabytes(size: int) -> str:
    """Format bytes for a message: `64.2 MB`, a megabyte being a million bytes."""
    return f"{size / _MEGABYTE:.1f} MB"


def show_setting(size: int) -> str:
    """Format bytes as container engines write them: `2g`, `1536m`; rounded up to whole mebibytes."""
    mebibytes = -(-size // _MEBIBYTE)
    gibibytes, rest = divmod(mebibytes, 1024)
    return f"{mebibytes}m" if rest else f"{gibibytes}g"
