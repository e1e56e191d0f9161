"""A node without a connection: messages go to the app in the form in which the link passes them on."""

from collections.abc import Mapping
from typing import cast

from flwr.app import ArrayRecord, ConfigRecord, RecordDict

from client import messages
from fedmx.hyperparameters import Hyperparameters
from fedmx.link.flower import Envelope, rebuild_request, set_identity

Value = int | float | str | bool
SHARE: dict[str, Value] = {"partition-rule": "iid", "partition": 0, "num-partitions": 2, "seed": 0}
OPTIONS: dict[str, Value] = {"task-options": "{}", "schema": ""}
HOW: dict[str, Value] = {
    "server-round": 1,
    **Hyperparameters(local_epochs=2, batch_size=20, learning_rate=0.1, momentum=0.9).to_config(),
}


def ask(kind: str, config: Mapping[str, Value], arrays: ArrayRecord | None = None) -> RecordDict:
    """Send a message to the app and return the content of its reply."""
    set_identity(run_id=1, node_id=7)
    content = RecordDict({"config": ConfigRecord({**config})})
    if arrays is not None:
        content["arrays"] = arrays
    answer = {"query": messages.query, "train": messages.train, "evaluate": messages.evaluate}[kind]
    reply = answer(rebuild_request(Envelope(1, kind, "1", 7), content))
    assert not reply.has_error()
    return reply.content


def query(
    config: Mapping[str, Value] = SHARE, *, with_arrays: bool = True
) -> tuple[ConfigRecord, ArrayRecord]:
    content = ask("query", {**OPTIONS, **config, "with-arrays": with_arrays})
    return content.config_records["description"], content.array_records.get("arrays", ArrayRecord())


def train(arrays: ArrayRecord, config: Mapping[str, Value] = SHARE) -> tuple[ArrayRecord, dict[str, float]]:
    content = ask("train", {**HOW, **OPTIONS, **config}, arrays)
    return content.array_records["arrays"], _read_metrics(content)


def evaluate(arrays: ArrayRecord, config: Mapping[str, Value] = SHARE) -> dict[str, float]:
    return _read_metrics(ask("evaluate", {**HOW, **OPTIONS, **config}, arrays))


def _read_metrics(content: RecordDict) -> dict[str, float]:
    return cast(dict[str, float], dict(content.metric_records["metrics"]))
