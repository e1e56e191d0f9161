"""The Flower ClientApp: train, evaluate, query. Reads a message's config, leaves the work to the workbench."""

from functools import cache
from typing import TypeVar, cast

from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from client.training import Hyperparameters
from client.workbench import Part, Workbench
from fedmx import arrays
from fedmx.errors import SettingsError
from fedmx.parsing import PartitionRule
from fedmx.settings import ClientSettings, load

T = TypeVar("T", int, float, str, bool)

app = ClientApp()


@cache
def workbench() -> Workbench:
    """Give this process's workbench, made from its settings at the first call."""
    return Workbench.from_settings(load(ClientSettings))


@app.query()
def query(message: Message, _: Context) -> Message:
    """Describe this node and the arrays that a run with this seed starts from; send those if they are asked for."""
    config = _config(message)
    workbench().take_part(_part(config))
    initial = workbench().initial_arrays(_get(config, "seed", int))
    description = ConfigRecord({**workbench().description(), "initial-sha256": arrays.sha256(initial)})
    content = RecordDict({"description": description})
    if _get(config, "with-arrays", bool):
        content["arrays"] = initial
    return Message(content, reply_to=message)


@app.train()
def train(message: Message, _: Context) -> Message:
    """Train from the global arrays on this node's data."""
    config = _config(message)
    part = _part(config)
    workbench().take_part(part)
    how = Hyperparameters(
        local_epochs=_get(config, "local-epochs", int),
        batch_size=_get(config, "batch-size", int),
        learning_rate=_get(config, "learning-rate", float),
        momentum=_get(config, "momentum", float),
        proximal_mu=_get(config, "proximal-mu", float),
    )
    seed = [part.seed, _get(config, "server-round", int), part.partition or 0]
    updated, metrics = workbench().train(_arrays(message), how, seed)
    return Message(RecordDict({"arrays": updated, "metrics": MetricRecord(metrics)}), reply_to=message)


@app.evaluate()
def evaluate(message: Message, _: Context) -> Message:
    """Measure the global arrays on this node's part of the test set."""
    config = _config(message)
    workbench().take_part(_part(config))
    metrics = workbench().evaluate(_arrays(message), _get(config, "batch-size", int))
    return Message(RecordDict({"metrics": MetricRecord(metrics)}), reply_to=message)


def _part(config: ConfigRecord) -> Part:
    is_shared = "partition" in config
    return Part(
        rule=PartitionRule.parse(_get(config, "partition-rule", str)),
        partition=_get(config, "partition", int) if is_shared else None,
        number=_get(config, "num-partitions", int) if is_shared else 1,
        seed=_get(config, "seed", int),
    )


def _config(message: Message) -> ConfigRecord:
    return next(iter(message.content.config_records.values()), ConfigRecord())


def _arrays(message: Message) -> ArrayRecord:
    return next(iter(message.content.array_records.values()), ArrayRecord())


def _get(config: ConfigRecord, key: str, kind: type[T]) -> T:
    """Read a value of a message's config."""
    value = config.get(key)
    if kind is float and isinstance(value, int):
        value = float(value)
    if not isinstance(value, kind):
        raise SettingsError(f"the message's config has {key}={value!r}; expected {kind.__name__}")
    return cast(T, value)
