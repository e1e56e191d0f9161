"""The Flower ClientApp: train, evaluate, query. Reads messages and leaves the work to the trainer."""

import hashlib
from functools import cache
from typing import TypeVar

from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from client.settings import load_settings
from client.trainer import DataShare, Trainer
from fedmx import arrays
from fedmx.errors import SettingsError
from fedmx.hyperparameters import Hyperparameters
from fedmx.values import PartitionRule

T = TypeVar("T", int, str, bool)

app = ClientApp()


@cache
def trainer() -> Trainer:
    """Return this process's trainer, built from its settings at the first call."""
    return Trainer.from_settings(load_settings())


@app.query()
def query(message: Message, _: Context) -> Message:
    """Describe this node and the arrays that a run with this seed starts from; send them on request."""
    config = _config(message)
    trainer().load_partition(_read_share(config))
    initial = trainer().initial_arrays(_at_least(config, "seed", 0))
    description = ConfigRecord({**trainer().description(), "initial-sha256": arrays.sha256(initial)})
    content = RecordDict({"description": description})
    if _get(config, "with-arrays", bool):
        content["arrays"] = initial
    return Message(content, reply_to=message)


@app.train()
def train(message: Message, _: Context) -> Message:
    """Train from the global arrays on this node's data."""
    config = _config(message)
    share = _read_share(config)
    trainer().load_partition(share)
    hyperparameters = Hyperparameters.from_config(config)
    updated, metrics = trainer().train(_arrays(message), hyperparameters, _read_seed(config, share))
    return Message(RecordDict({"arrays": updated, "metrics": MetricRecord({**metrics})}), reply_to=message)


@app.evaluate()
def evaluate(message: Message, _: Context) -> Message:
    """Evaluate the global arrays on this node's share of the test set."""
    config = _config(message)
    trainer().load_partition(_read_share(config))
    metrics = trainer().evaluate(_arrays(message), Hyperparameters.from_config(config).batch_size)
    return Message(RecordDict({"metrics": MetricRecord({**metrics})}), reply_to=message)


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
