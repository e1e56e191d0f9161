"""The summary of its columns that a site sends before round 1. All sites' summaries make a `Schema`.

Every field of these classes leaves the site. No other statistics do.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from fedmx.listing import list_names
from fedmx.log import printable
from fedmx.schema import MAX_COLUMNS, MAX_TEXT, MAX_VALUES, Categorical, Column, Numeric, Schema

# About the largest number that float32 can represent.
_LARGEST = 3.4e38
# How an error names the kinds of a column.
_KINDS = ("numeric", "without numbers", "categorical", "missing")
# Columns, and sites of each, that an error names.
_MOST_SHOWN = 5


@dataclass(frozen=True)
class Numbers:
    """The numbers of a column at one site.

    Attributes:
        count: how many there are, or the number of rows if a few are missing; 0 if too few to reveal.
        mean: their mean; 0 without any.
        variance: their variance, of the population.
        has_missing: whether more than a few are missing.
    """

    count: int
    mean: float
    variance: float
    has_missing: bool


@dataclass(frozen=True)
class Texts:
    """The texts of a column at one site.

    Attributes:
        values: those that are not too rare to be revealed, sorted.
    """

    values: tuple[str, ...]


ColumnSummary: TypeAlias = Numbers | Texts
Summary: TypeAlias = Mapping[str, ColumnSummary]
"""One site's: column's name -> its summary."""


def to_json(summary: Summary) -> str:
    """Return a summary as JSON text."""
    return json.dumps({name: _describe(column) for name, column in summary.items()})


def from_json(text: str) -> Summary:
    """Parse what `to_json` returned; it came over the wire.

    Raises:
        ValueError: the text is not a summary.
    """
    try:
        found = json.loads(text)
        columns = {str(name): _parse(column) for name, column in found.items()}
        # JSON can have halves of characters, which no text on the way to a file or a terminal can.
        json.dumps(found, ensure_ascii=False).encode()
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise ValueError(f"not a summary of columns: {printable(str(error))}") from None
    if not 0 < len(columns) <= MAX_COLUMNS:
        raise ValueError(f"{len(columns)} columns; expected 1 to {MAX_COLUMNS}")
    if any(len(name) > MAX_TEXT for name in columns):
        raise ValueError(f"a column's name is too long; expected at most {MAX_TEXT} characters")
    return columns


def merge(summaries: Mapping[str, Summary]) -> Schema:
    """Combine the summaries of all sites, whose order does not matter.

    Args:
        summaries: site's name -> its summary.

    Raises:
        ValueError: a column is missing at a site, or is of another kind there; the message names the first of
            these.
    """
    problems = [problem for name in _list_columns(summaries) if (problem := _find_problem(name, summaries))]
    if problems:
        # Each of very many columns may differ, and every node is sent the message.
        more = [f"{len(problems) - _MOST_SHOWN} more columns differ"] if len(problems) > _MOST_SHOWN else []
        raise ValueError("; ".join([*problems[:_MOST_SHOWN], *more]))
    sites = [summaries[name] for name in sorted(summaries)]
    return Schema({name: _merge_column([site[name] for site in sites]) for name in _list_columns(summaries)})


def _describe(column: ColumnSummary) -> dict[str, Any]:
    if isinstance(column, Texts):
        return {"values": list(column.values)}
    return {
        "count": column.count,
        "mean": column.mean,
        "variance": column.variance,
        "has_missing": column.has_missing,
    }


def _parse(found: Mapping[str, Any]) -> ColumnSummary:
    if "values" in found:
        values = tuple(found["values"])
        if len(values) > MAX_VALUES or not all(isinstance(v, str) and len(v) <= MAX_TEXT for v in values):
            raise ValueError(
                f"a column has too many or too long values; expected at most {MAX_VALUES}, of at most"
                f" {MAX_TEXT} characters"
            )
        return Texts(tuple(sorted(set(values))))
    numbers = Numbers(
        int(found["count"]), float(found["mean"]), float(found["variance"]), bool(found["has_missing"])
    )
    is_possible = abs(numbers.mean) <= _LARGEST and 0 <= numbers.variance <= _LARGEST**2
    if not is_possible or not 0 <= numbers.count <= 2**53:
        raise ValueError("a column has an impossible count, mean or variance")
    return numbers


def _list_columns(summaries: Mapping[str, Summary]) -> list[str]:
    """Return the names of all columns, in the order of the first site by name."""
    return list(dict.fromkeys(name for site in sorted(summaries) for name in summaries[site]))


def _find_problem(name: str, summaries: Mapping[str, Summary]) -> str | None:
    """Return how the sites differ in a column; None if they do not."""
    sites: dict[str, list[str]] = {kind: [] for kind in _KINDS}
    for site in sorted(summaries):
        sites[_name_kind(summaries[site].get(name))].append(site)
    is_numeric = not sites["categorical"] and not sites["missing"]
    is_equal = is_numeric or len(sites["categorical"]) == len(summaries)
    listed = " and ".join(
        f"{kind} at {list_names(names, _MOST_SHOWN)}" for kind, names in sites.items() if names
    )
    return None if is_equal else f"column '{printable(name)}' is {listed}"


def _name_kind(column: ColumnSummary | None) -> str:
    if isinstance(column, Numbers):
        # A column without values has no kind of its own, unless the task declares it.
        return "numeric" if column.count else "without numbers"
    return "missing" if column is None else "categorical"


def _merge_column(columns: list[ColumnSummary]) -> Column:
    texts = [column for column in columns if isinstance(column, Texts)]
    if texts:
        return Categorical(tuple(sorted({value for column in texts for value in column.values})))
    return _merge_numbers([column for column in columns if isinstance(column, Numbers)])


def _merge_numbers(sites: list[Numbers]) -> Numeric:
    """Combine means and variances: the total variance is that within the sites and that between them."""
    count = sum(site.count for site in sites)
    has_missing = any(site.has_missing for site in sites)
    if not count:
        return Numeric(0.0, 1.0, has_missing)
    mean = math.fsum(site.mean * (site.count / count) for site in sites)
    within_and_between = (
        (site.variance + (site.mean - mean) ** 2) * (site.count / count) for site in sites if site.count
    )
    std = math.sqrt(math.fsum(within_and_between))
    # The deviation of equal numbers is zero but for rounding.
    return Numeric(mean, std if std > abs(mean) * 1e-12 else 1.0, has_missing)
