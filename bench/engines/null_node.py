"""A node of the direct link that speaks the project's own messages and computes nothing.

It changes the first value of each array, at the price of one copy of the array, as the null app of the other
engines does. Its arrays are numpy values from end to end, where Flower's are npy files: this is what
`client` sends as well.
"""

import json
import time
from collections.abc import Callable
from functools import cache

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from bench.flower_app.null_app.model import SHAPES, make_arrays, make_metrics, step_of
from fedmx import arrays

# When evaluation began and training ended at the node. One clock serves all processes of a machine.
BEGAN, ENDED = "began", "ended"


def describe(size: str) -> ConfigRecord:
    """Return the description of a model, as a node that is ready sends it."""
    heads = [
        json.dumps([_name(index), "float32", shape, "trained"]) for index, shape in enumerate(SHAPES[size])
    ]
    return ConfigRecord(
        {
            "task": "null",
            "arrays": heads,
            "metrics": ["accuracy", BEGAN, "loss"],
            "train-metrics": ["accuracy", ENDED, "loss"],
            "labels-sha256": "",
            "frozen-sha256": "",
            "train-examples": 60_000,
            "test-examples": 10_000,
        }
    )


def make_app(size: str, number: int, wait: Callable[[], object] = lambda: None) -> ClientApp:
    """Build the app of one node.

    Args:
        size: of the model.
        number: the node's, which decides what it changes.
        wait: called in each training, before its update is sent.
    """
    app = ClientApp()

    @app.query()
    def query(message: Message, _: Context) -> Message:
        description = ConfigRecord({**describe(size), "initial-sha256": _hash_initial(size)})
        content = RecordDict({"description": description})
        if _config_of(message)["with-arrays"]:
            content["arrays"] = _build_initial(size)
        return Message(content, reply_to=message)

    @app.train()
    def train(message: Message, _: Context) -> Message:
        (received,) = message.content.array_records.values()
        changed = arrays.make_record({name: _change(array, number) for name, array in received.items()})
        wait()
        metrics = MetricRecord({**make_metrics(number), ENDED: time.perf_counter()})
        return Message(RecordDict({"arrays": changed, "metrics": metrics}), reply_to=message)

    @app.evaluate()
    def evaluate(message: Message, _: Context) -> Message:
        metrics = MetricRecord({**make_metrics(number), BEGAN: time.perf_counter()})
        return Message(RecordDict({"metrics": metrics}), reply_to=message)

    return app


def _build_initial(size: str) -> ArrayRecord:
    return arrays.make_record(
        {_name(index): arrays.pack(values) for index, values in enumerate(make_arrays(size))}
    )


@cache
def _hash_initial(size: str) -> str:
    # Once for all nodes of a process, and without keeping the arrays.
    return arrays.sha256(_build_initial(size))


def _name(index: int) -> str:
    return f"{index:02}.weight"


def _config_of(message: Message) -> ConfigRecord:
    (config,) = message.content.config_records.values()
    return config


def _change(array: Array, number: int) -> Array:
    values = arrays.view(array).astype(np.float32)
    values.flat[0] += np.float32(step_of(number))
    return arrays.pack(values)
