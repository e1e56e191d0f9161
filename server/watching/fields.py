"""Reads typed values from an untrusted JSON object."""

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from fedmx.log import printable

_LONGEST = 300


class Fields:
    """The fields of a JSON object. A field that is missing or null is returned as None, or empty.

    Args:
        value: the object; null stands for one without fields.
        path: of the object, for errors.

    Raises:
        ValueError: the value is not an object. All methods raise it for a field of another type.
    """

    def __init__(self, value: object, path: str = "status") -> None:
        self._path = path
        self._values = _expect(value, dict, path) or {}

    def text(self, name: str) -> str:
        """Return a text that is safe on a terminal."""
        return printable(self._get(name, str) or "", _LONGEST)

    def number(self, name: str) -> float | None:
        """Return a number."""
        return _read_number(self._values.get(name), self._name(name))

    def count(self, name: str) -> int:
        """Return a whole number; 0 if there is none."""
        return int(self.number(name) or 0)

    def moment(self, name: str) -> datetime | None:
        """Return a time."""
        text = self._get(name, str)
        if not text:
            return None
        try:
            found = datetime.fromisoformat(text)
        except ValueError:
            raise ValueError(f"{self._name(name)}: not a time in ISO 8601") from None
        return found if found.tzinfo else found.replace(tzinfo=UTC)

    def part(self, name: str) -> "Fields | None":
        """Return an object."""
        value = self._values.get(name)
        return None if value is None else Fields(value, self._name(name))

    def parts(self, name: str) -> list["Fields"]:
        """Return a list of objects."""
        return [Fields(value, f"{self._name(name)}[{at}]") for at, value in enumerate(self.items(name))]

    def items(self, name: str) -> Sequence[object]:
        """Return a list of anything."""
        return self._get(name, list) or ()

    def texts(self, name: str) -> list[str]:
        """Return a list of texts; other values are converted to text."""
        return [printable(str(value), _LONGEST) for value in self.items(name)]

    def numbers(self, name: str) -> dict[str, float | None]:
        """Return an object of numbers."""
        found = self._get(name, dict) or {}
        return {
            printable(str(key), _LONGEST): _read_number(value, f"{self._name(name)}.{key}")
            for key, value in found.items()
        }

    def curves(self, name: str) -> dict[str, list[float | None]]:
        """Return an object of lists of numbers."""
        inner = Fields(self._get(name, dict), self._name(name))
        return {printable(key, _LONGEST): inner.curve(key) for key in inner._values}

    def curve(self, name: str) -> list[float | None]:
        """Return a list of numbers."""
        return [_read_number(value, self._name(name)) for value in self.items(name)]

    def plain(self) -> Mapping[str, Any]:
        """Return the fields as they are."""
        return self._values

    def _get(self, name: str, kind: type) -> Any:
        return _expect(self._values.get(name), kind, self._name(name))

    def _name(self, name: str) -> str:
        return f"{self._path}.{name}"


def _expect(value: object, kind: type, name: str) -> Any:
    if value is not None and not isinstance(value, kind):
        raise ValueError(f"{printable(name)}: {type(value).__name__}; expected {kind.__name__}")
    return value


def _read_number(value: object, name: str) -> float | None:
    if value is None:
        return None
    # Python parses NaN, and treats True as an integer.
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{printable(name)}: {type(value).__name__}; expected a number")  # noqa: TRY004 - what was read is at fault
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:
        return None
