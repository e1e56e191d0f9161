"""Nodes made of functions, without MXNet; the link and the server around them are real."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Context, Error, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from numpy.typing import NDArray

from fedmx import arrays
from fedmx.class_counts import RECORD
from fedmx.errors import FederationError
from server.update import records_of

Values = dict[str, NDArray[Any]]
Metrics = dict[str, Any]
Config = dict[str, Any]

# One of Flower's error codes.
NODE_UNAVAILABLE = 5
GOOD: Metrics = {"loss": 0.5, "accuracy": 0.75, "num-examples": 10}


def pack(values: Mapping[str, NDArray[Any]]) -> ArrayRecord:
    return arrays.make_record({name: arrays.pack(value) for name, value in values.items()})


def unpack(record: Mapping[str, Any]) -> Values:
    return {name: arrays.view(array).copy() for name, array in record.items()}


def keep(values: Values, _: Config) -> tuple[Values, Metrics]:
    """Train nothing."""
    return values, GOOD


def shift(by: float, **metrics: float) -> Callable[[Values, Config], tuple[Values, Metrics]]:
    """Add a number to every value of the model."""
    return lambda values, _: (
        {name: value + value.dtype.type(by) for name, value in values.items()},
        GOOD | metrics,
    )


def measure(_: Values, __: Config) -> Metrics:
    return GOOD


class LostError(Exception):
    """Raised by a node's function to reply as Flower does for a node that was not there."""


def lose(_: Values, __: Config) -> tuple[Values, Metrics]:
    """Train nothing: the update is lost, and may come at another attempt."""
    raise LostError("the node is unavailable")


@dataclass
class NullNode:
    """One node: what it does with a message, and what it was asked.

    Attributes:
        train: (arrays, config) -> new arrays and metrics.
        evaluate: (arrays, config) -> metrics.
        counts: what an evaluation has counted by class; None: nothing.
        initial: the arrays that a run starts from.
        running: names of those that change without gradients.
        frozen: names of those that are never trained.
        received: the names of the arrays in each train and evaluate message.
        description: replaces or adds entries of its description.
        columns: a summary in JSON, which it sends as long as no schema is known; None: it needs no schema.
        asked: step, round and config of each message that reached it.
        outcome: how its program would have ended: the error, or None.
    """

    train: Callable[[Values, Config], tuple[Values, Metrics]] = keep
    evaluate: Callable[[Values, Config], Metrics] = measure
    counts: ConfigRecord | None = None
    initial: Values = field(default_factory=lambda: {"0.weight": np.zeros((2, 3), np.float32)})
    running: tuple[str, ...] = ()
    frozen: tuple[str, ...] = ()
    description: Mapping[str, Any] = field(default_factory=dict)
    columns: str | None = None
    asked: list[tuple[str, int, Config]] = field(default_factory=list)
    received: list[tuple[str, ...]] = field(default_factory=list)
    outcome: FederationError | None = None

    def asked_to(self, step: str) -> list[Config]:
        return [config for name, _, config in self.asked if name == step]

    def describe(self) -> ConfigRecord:
        heads = [
            json.dumps([name, value.dtype.name, value.shape, self._kind_of(name)])
            for name, value in self.initial.items()
        ]
        frozen = {name: self.initial[name] for name in self.frozen}
        entries: dict[str, Any] = {
            "task": "null",
            "arrays": heads,
            "metrics": ["accuracy", "loss"],
            "train-metrics": self.description.get("metrics", ["accuracy", "loss"]),
            "labels-sha256": "ab",
            "frozen-sha256": arrays.sha256(pack(frozen)) if frozen else "",
            "train-examples": 60,
            "test-examples": 30,
        }
        return ConfigRecord(entries | dict(self.description))

    def describe_when_ready(self) -> ConfigRecord:
        """Return what it describes when it joins, before the sites have agreed on columns."""
        return (
            self.describe() if self.columns is None else ConfigRecord({"task": "null", "needs-schema": True})
        )

    def _kind_of(self, name: str) -> str:
        if name in self.frozen:
            return "frozen"
        return "running" if name in self.running else "trained"

    def make_app(self) -> ClientApp:
        app = ClientApp()
        app.query()(self._query)
        app.train()(self._train)
        app.evaluate()(self._evaluate)
        return app

    def _query(self, message: Message, _: Context) -> Message:
        config = self._note("query", message)
        if self.columns is not None and not config["schema"]:
            summary = ConfigRecord({"columns": self.columns})
            return Message(RecordDict({"summary": summary}), reply_to=message)
        digest = arrays.sha256(pack(self.initial))
        description = ConfigRecord({**self.describe(), "initial-sha256": digest, **self.description})
        content = RecordDict({"description": description})
        if config["with-arrays"]:
            content["arrays"] = pack(self.initial)
        return Message(content, reply_to=message)

    def _train(self, message: Message, _: Context) -> Message:
        config = self._note("train", message)
        try:
            values, metrics = self.train(self._read(message), config)
        except LostError as error:
            return Message(Error(NODE_UNAVAILABLE, str(error)), reply_to=message)
        content = RecordDict({"arrays": pack(values), "metrics": MetricRecord(metrics)})
        return Message(content, reply_to=message)

    def _evaluate(self, message: Message, _: Context) -> Message:
        config = self._note("evaluate", message)
        metrics = self.evaluate(self._read(message), config)
        content = RecordDict({"metrics": MetricRecord(metrics)})
        if self.counts is not None:
            content[RECORD] = self.counts
        return Message(content, reply_to=message)

    def _read(self, message: Message) -> Values:
        values = unpack(records_of(message.content, ArrayRecord)[0])
        self.received.append(tuple(values))
        return values

    def _note(self, step: str, message: Message) -> Config:
        config = dict(records_of(message.content, ConfigRecord)[0])
        self.asked.append((step, int(message.metadata.group_id), config))
        return config


def fail_in(number: int) -> NullNode:
    """Return a node that ends the run in a round."""

    def train(values: Values, config: Config) -> tuple[Values, Metrics]:
        if config["server-round"] == number:
            raise ZeroDivisionError("the columns do not fit")
        return shift(1.0)(values, config)

    return NullNode(train)
