"""Combines the summaries of columns that nodes send before round 1 into a schema."""

import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping

from flwr.app import ConfigRecord, RecordDict

from fedmx import summary
from fedmx.errors import SettingsError, TrainingFailedError
from fedmx.log import event, warn
from fedmx.schema import Categorical, Schema
from fedmx.summary import Summary, Texts
from server.update import records_of

_RECORD = "summary"
_HINT = "sites that spell a value differently train it as two; expected one spelling at all sites"
# Pairs of values that a WARNING names.
_MOST_SHOWN = 5


def have_summaries(contents: Mapping[str, RecordDict]) -> bool:
    """Whether a node has sent a summary of its columns instead of describing its model."""
    return any(_RECORD in content for content in contents.values())


def agree(contents: Mapping[str, RecordDict]) -> str:
    """Return the schema on which the nodes agree, in JSON.

    Args:
        contents: node's name -> its reply.

    Raises:
        TrainingFailedError: a node did not send a summary, or one that cannot be read.
        SettingsError: columns are missing at a site, or are of different kinds.
    """
    summaries = {name: _read(name, content) for name, content in contents.items()}
    try:
        schema = summary.merge(summaries)
    except ValueError as error:
        raise SettingsError(
            f"the sites' data differ: {error}; expected the same columns of the same kinds at every site:"
            " correct the site's data (row 1 of a table has the columns' names), or leave the column out"
        ) from None
    event("columns agreed", nodes=len(summaries), columns=len(schema))
    for name, alike in _find_alike(schema):
        warn("values differ in spelling only", column=name, values=alike[:_MOST_SHOWN], hint=_HINT)
    for name, nodes in _find_alone(schema, summaries):
        warn("sites share no value of a column with others", column=name, nodes=nodes, hint=_HINT)
    return schema.to_json()


def _find_alike(schema: Schema) -> Iterator[tuple[str, list[str]]]:
    """Yield each column with values that differ in case, spaces or invisible characters only, as pairs."""
    for name, column in schema.items():
        if not isinstance(column, Categorical):
            continue
        spellings: dict[str, str] = {}
        pairs = [
            f"{spelling!r}/{value!r}"
            for value in column.values
            if (spelling := spellings.setdefault(_simplify(value), value)) != value
        ]
        if pairs:
            yield name, pairs


def _find_alone(schema: Schema, summaries: Mapping[str, Summary]) -> Iterator[tuple[str, list[str]]]:
    """Yield each column with the nodes whose values no other node has: `f` and `m` here, `female` there."""
    for name, column in schema.items():
        if not isinstance(column, Categorical) or len(summaries) == 1:
            continue
        columns = {node: found[name] for node, found in summaries.items()}
        values = {node: found.values if isinstance(found, Texts) else () for node, found in columns.items()}
        counts = Counter(value for each in values.values() for value in each)
        alone = [node for node, own in values.items() if own and all(counts[value] == 1 for value in own)]
        if alone:
            yield name, alone[:_MOST_SHOWN]


def _simplify(text: str) -> str:
    folded = unicodedata.normalize("NFKC", text).casefold()
    return "".join(char for char in folded if char.isprintable() and not char.isspace())


def _read(name: str, content: RecordDict) -> Summary:
    record = next(iter(records_of(content, ConfigRecord)), ConfigRecord())
    text = record.get("columns")
    if _RECORD not in content or not isinstance(text, str):
        raise TrainingFailedError(
            f"node {name}: it sent no summary of its columns; expected the same task on every node"
        )
    try:
        return summary.from_json(text)
    except ValueError as error:
        raise TrainingFailedError(f"node {name}: {error}") from None
