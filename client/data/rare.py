"""What readers do about texts and classes that are too rare to learn from."""

from typing import Literal, TypeAlias

from fedmx.errors import SettingsError

Rare: TypeAlias = Literal["refuse", "other"]
"""`refuse`: they are an error. `other`: they count as any other text, and are left out as a label."""


def check_rare(rare: str) -> None:
    """Check the value of an argument `rare`.

    Raises:
        SettingsError: it is not valid.
    """
    if rare not in ("refuse", "other"):
        raise SettingsError(f"rare={rare!r}: expected 'refuse' or 'other'")
