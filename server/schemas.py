"""Combines the summaries of columns that nodes send before round 1 into a schema."""

from collections.abc import Mapping

from flwr.app import ConfigRecord, RecordDict

from fedmx import summary
from fedmx.errors import SettingsError, TrainingFailedError
from fedmx.log import event
from fedmx.summary import Summary
from server.update import records_of

_RECORD = "summary"


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
    return schema.to_json()


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
