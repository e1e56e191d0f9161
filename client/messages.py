"""Answers the server's messages: query, train, evaluate. Reads them and leaves the work to the trainer."""

import hashlib
import time
from collections.abc import Mapping
from functools import lru_cache
from typing import TypeVar

from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict

from client.journal import Journal
from client.reduced_update import reduce_update
from client.settings import load_settings
from client.shares import DataShare
from client.site_summary import has_columns, log_revealed, read_columns, summarize
from client.task import may_need_options
from client.trainer import Trainer
from fedmx import arrays, parsing, reduced
from fedmx.class_counts import RECORD, ClassCounts, measure_all
from fedmx.errors import DataError, SettingsError
from fedmx.hyperparameters import OFF, Hyperparameters
from fedmx.log import error, event, printable
from fedmx.schema import Schema
from fedmx.summary import Summary, to_json
from fedmx.values import PartitionRule

T = TypeVar("T", int, str, bool)
Work = tuple[ArrayRecord, Hyperparameters, int, list[int]]
"""The global arrays, the hyperparameters, the round and the seed of a message."""

journal = Journal()


def prepare() -> None:
    """Build the trainer before the server answers, unless the task may need the server's TASK_OPTIONS.

    Raises:
        FederationError: this node cannot train, as `Trainer` finds.
    """
    if not may_need_options(load_settings().task):
        build_trainer("{}", "")


def describe(task_options: str) -> ConfigRecord:
    """Return what must be equal on all nodes; without the model if the sites have to agree on columns first.

    Raises:
        FederationError: this node cannot train.
    """
    task = load_settings().task
    if has_columns(task):
        summarize_site(task_options)
        return ConfigRecord({"task": task, "needs-schema": True})
    return find_trainer(task_options).description()


def name_devices(task_options: str) -> str | None:
    """Return the devices that the model is trained on; None if a partition or a schema decides that later."""
    if has_columns(load_settings().task):
        return None
    return ", ".join(map(str, find_trainer(task_options).devices)) or None


def find_trainer(task_options: str, schema: str = "") -> Trainer:
    """Return this process's trainer, which is built once for each TASK_OPTIONS that its task may need.

    Args:
        task_options: TASK_OPTIONS of the server, a JSON object.
        schema: what the sites agreed on, in JSON; empty if they need not agree.
    """
    task = load_settings().task
    return build_trainer(
        task_options if may_need_options(task) else "{}", schema if has_columns(task) else ""
    )


@lru_cache(maxsize=1)
def build_trainer(task_options: str, schema: str) -> Trainer:
    """Build a trainer from this process's settings.

    Raises:
        SettingsError: a text is not a JSON object of its kind.
    """
    options = _parse_options(task_options)
    try:
        agreed = Schema.from_json(schema) if schema else None
    except ValueError as error:
        raise SettingsError(f"the message's config has a schema that cannot be read: {error}") from None
    if agreed:
        event("columns agreed", columns=len(agreed))
    return Trainer.from_settings(load_settings(), options, agreed)


@lru_cache(maxsize=1)
def summarize_site(task_options: str) -> Summary:
    """Summarize this site's columns.

    Raises:
        FederationError: they cannot be read or summarized.
    """
    settings = load_settings()
    columns = read_columns(settings.task, _parse_options(task_options), settings.data_dir)
    return summarize(settings.task, columns, settings.min_group)


def query(message: Message) -> Message:
    """Describe this node and the arrays that a run with this seed starts from; send them on request.

    If the sites have to agree on columns first, send a summary of this site's instead.
    """
    config = _config(message)
    if has_columns(load_settings().task) and not _get(config, "schema", str):
        summary = summarize_site(_get(config, "task-options", str))
        log_revealed(summary)
        record = ConfigRecord({"columns": to_json(summary)})
        return Message(RecordDict({"summary": record}), reply_to=message)
    node = _load(config, _read_share(config))
    initial = node.initial_arrays(_at_least(config, "seed", 0))
    description = ConfigRecord({**node.description(), "initial-sha256": arrays.sha256(initial)})
    content = RecordDict({"description": description})
    if _get(config, "with-arrays", bool):
        content["arrays"] = initial
    return Message(content, reply_to=message)


def train(message: Message) -> Message:
    """Train from the global arrays on this node's data."""
    started = time.monotonic()
    node, work = _prepare_work(message)
    updated, metrics = node.train(*work)
    journal.add_training(metrics, time.monotonic() - started)
    content = RecordDict({"arrays": updated, "metrics": MetricRecord({**metrics})})
    received, hyperparameters, _, seed = work
    if hyperparameters.wire_dtype != OFF:
        content[reduced.RECORD] = reduce_update(
            updated, received, node.trained, hyperparameters.wire_dtype, seed
        )
    return Message(content, reply_to=message)


def evaluate(message: Message) -> Message:
    """Evaluate the global arrays on this node's share of the test set."""
    started = time.monotonic()
    node, work = _prepare_work(message)
    counter = node.make_counter()
    metrics = node.evaluate(*work, counter)
    content = RecordDict({"metrics": MetricRecord({**metrics})})
    counts = None if counter is None else counter.read()
    journal.add_evaluation(_add_counted(metrics, counts), time.monotonic() - started)
    if counts is not None:
        content[RECORD] = counts.to_record()
    return Message(content, reply_to=message)


def _add_counted(metrics: Mapping[str, float], counts: ClassCounts | None) -> dict[str, float]:
    """Return an evaluation's metrics with those that the server computes from its counts."""
    counted = measure_all([counts])
    return {**metrics, **{name: counted[name] for name in counted if name not in metrics}}


def _prepare_work(message: Message) -> tuple[Trainer, Work]:
    """Return the trainer, with the message's share of the data, and what it trains or evaluates with."""
    config = _config(message)
    share = _read_share(config)
    node = _load(config, share)
    hyperparameters = Hyperparameters.from_config(config)
    number = _at_least(config, "server-round", 0)
    journal.begin(number, config)
    return node, (_arrays(message), hyperparameters, number, _read_seed(config, share))


def _load(config: ConfigRecord, share: DataShare) -> Trainer:
    """Return the trainer, with a share of the data.

    Raises:
        FederationError: the model or the data does not work.
    """
    options, schema = (_get(config, key, str) for key in ("task-options", "schema"))
    try:
        node = find_trainer(options, schema)
        node.load_partition(share)
    except (SettingsError, DataError) as reason:
        if not schema:
            raise
        # The message may contain values of rows, which must not leave this site.
        error(str(reason))
        raise SettingsError(
            "this site's data does not fit the schema that the sites agreed on; its own log has the reason"
        ) from None
    return node


def _read_share(config: ConfigRecord) -> DataShare:
    text = _get(config, "partition-rule", str)
    try:
        rule = PartitionRule.parse(text)
    except ValueError as error:
        raise SettingsError(f"the message's config has partition-rule={text!r}; {error}") from None
    return DataShare(
        rule=rule,
        partition=_at_least(config, "partition", 0) if rule.is_shared else None,
        num_partitions=_at_least(config, "num-partitions", 1) if rule.is_shared else 1,
        seed=_at_least(config, "seed", 0),
    )


def _read_seed(config: ConfigRecord, share: DataShare) -> list[int]:
    """Return the seed of shuffles and dropout: it depends on the run, the round, and the data's owner."""
    owner = share.partition
    if owner is None:
        name = _get(config, "node", str)
        owner = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8])
    return [share.seed, _at_least(config, "server-round", 0), owner]


def _parse_options(text: str) -> Mapping[str, object]:
    try:
        return parsing.json_object(text)
    except ValueError as error:
        raise SettingsError(f"TASK_OPTIONS={printable(text)}: {error}") from None


def _config(message: Message) -> ConfigRecord:
    return next(iter(message.content.config_records.values()), ConfigRecord())


def _arrays(message: Message) -> ArrayRecord:
    return next(iter(message.content.array_records.values()), ArrayRecord())


def _at_least(config: ConfigRecord, key: str, least: int) -> int:
    """Read an integer of a message's config."""
    value = _get(config, key, int)
    if value < least:
        raise SettingsError(f"the message's config has {key}={value!r}; expected at least {least}")
    return value


def _get(config: ConfigRecord, key: str, kind: type[T]) -> T:
    """Read a value of a message's config."""
    value = config.get(key)
    # Not isinstance: True is an int too.
    if type(value) is not kind:
        raise SettingsError(f"the message's config has {key}={value!r}; expected {kind.__name__}")
    return value
