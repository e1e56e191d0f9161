"""The schema that the sites agree on: columns of their data, with means, deviations and values.

No row leaves a site: each site sends a summary of its columns, and the server combines the summaries. A
task's functions get the schema if they have a parameter of this name.
"""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

MAX_COLUMNS = 10_000
MAX_VALUES = 10_000
"""The most values of a column."""
MAX_TEXT = 200
"""The most characters of a value or of a column's name."""


@dataclass(frozen=True)
class Numeric:
    """A column of numbers.

    Attributes:
        mean: the mean over all sites.
        std: the standard deviation over all sites, of the population; 1 for a column of one value.
        has_missing: whether values are missing at some site.
    """

    mean: float
    std: float
    has_missing: bool = False


@dataclass(frozen=True)
class Categorical:
    """A column of texts.

    Attributes:
        values: the values of all sites, sorted. A value that is too rare to be named at every site that has
            it is not among them.
    """

    values: tuple[str, ...]


Column: TypeAlias = Numeric | Categorical


@dataclass(frozen=True)
class Schema(Mapping[str, Any]):
    """The columns that all sites have, by name, in one order.

    Attributes:
        columns: the columns by name.
    """

    columns: Mapping[str, Column]

    def __getitem__(self, name: str) -> Any:
        """Return a column, of the kind that its user expects."""
        return self.columns[name]

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names of the columns."""
        return iter(self.columns)

    def __len__(self) -> int:
        """Return the number of columns."""
        return len(self.columns)

    def to_json(self) -> str:
        """Return the schema as JSON text, which is equal for equal schemas."""
        return json.dumps({name: _describe(column) for name, column in self.columns.items()})

    @classmethod
    def from_json(cls, text: str) -> "Schema":
        """Parse what `to_json` returned.

        Raises:
            ValueError: the text is not a schema.
        """
        found = json.loads(text)
        is_object = isinstance(found, dict)
        if not is_object:
            raise ValueError("not a JSON object")
        return cls({name: _parse(name, column) for name, column in found.items()})


def _describe(column: Column) -> dict[str, Any]:
    if isinstance(column, Categorical):
        return {"values": list(column.values)}
    return {"mean": column.mean, "std": column.std, "has_missing": column.has_missing}


def _parse(name: str, found: Any) -> Column:
    try:
        if "values" in found:
            values = tuple(found["values"])
            if all(isinstance(value, str) for value in values):
                return Categorical(values)
        else:
            column = Numeric(float(found["mean"]), float(found["std"]), bool(found["has_missing"]))
            if math.isfinite(column.mean) and math.isfinite(column.std) and column.std > 0:
                return column
    except (TypeError, KeyError, ValueError, OverflowError):
        pass
    raise ValueError(f"column {name!r} is neither numeric nor categorical")
