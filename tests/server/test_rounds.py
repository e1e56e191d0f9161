"""Rounds over real streams, and what is recorded of them."""

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedmx.errors import TrainingFailedError
from fedmx.schedule import LearningRateSchedule
from fedmx.values import PartitionRule
from server import strategies
from tests.pages import find_code
from tests.server.federation import Federation
from tests.server.local_grid import Table
from tests.server.nodes import GOOD, Config, Metrics, NullNode, Values, shift, unpack


def test_accuracy_and_loss_in_the_history_are_weighted_means(federation: Federation) -> None:
    def node(loss: float, accuracy: float, examples: int) -> NullNode:
        trained = {"loss": 2 * loss, "accuracy": accuracy / 2, "num-examples": 2 * examples}
        measured = {"loss": loss, "accuracy": accuracy, "num-examples": examples}
        return NullNode(lambda values, _: (values, trained), lambda _, __: measured)

    federation.run({"a": node(1.0, 0.5, 10), "b": node(2.0, 1.0, 30)})
    line = federation.history[0]
    # By hand: (1 * 10 + 2 * 30) / 40 and (0.5 * 10 + 1 * 30) / 40.
    assert line["evaluate"] == {"num_examples": 40, "metrics": {"loss": 1.75, "accuracy": 0.875}}
    assert line["train"] == {"num_examples": 80, "metrics": {"loss": 3.5, "accuracy": 0.4375}}
    assert [(node["examples"], node["metrics"]) for node in line["nodes"]] == [
        (20, {"loss": 2.0, "accuracy": 0.25}),
        (60, {"loss": 4.0, "accuracy": 0.5}),
    ]


@pytest.mark.parametrize("strategy", strategies.NAMES)
def test_every_strategy_aggregates_updates_whose_metrics_differ(strategy: str) -> None:
    nodes = [NullNode(shift(by)) for by in (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)]
    nodes.append(NullNode(shift(64.0, accuracy=math.nan)))
    table = Table(nodes, strategy=strategy)
    table.train_round()
    assert np.isfinite(unpack(table.model.arrays)["0.weight"]).all()


def test_a_line_of_the_history_has_the_documented_keys(federation: Federation) -> None:
    federation.run({"a": NullNode()})
    line = federation.history[0]
    assert list(line) == [
        "round",
        "learning_rate",
        "train",
        "evaluate",
        "nodes",
        "only_evaluated",
        "rejected",
        "undefined",
        "missing",
        "left_out",
        "seconds",
        "time",
    ]
    assert set(line["train"]) == set(line["evaluate"]) == {"num_examples", "metrics"}
    (node,) = line["nodes"]
    for measured in (line["train"], line["evaluate"], node):
        assert set(measured["metrics"]) == {"loss", "accuracy"}
    names = {
        "name",
        "site",
        "partition",
        "examples",
        "metrics",
        "evaluate",
        "seconds",
        "bytes_up",
        "bytes_down",
    }
    assert set(node) == names
    assert node["evaluate"] == line["evaluate"], "there is one node"
    assert list(line["seconds"]) == ["train", "aggregate", "evaluate", "checkpoint", "total"]
    assert line["seconds"]["total"] >= line["seconds"]["train"] + line["seconds"]["evaluate"] > 0


def test_each_round_is_one_line_of_the_log(
    federation: Federation, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fedmx.log.logger.propagate", True)
    caplog.set_level("INFO", logger="fedmx")
    nodes = {f"node-{number}": NullNode() for number in range(2)}
    federation.run(nodes, num_rounds=2, dp_mode="dp-fixed")
    lines = [line for line in caplog.messages if line.startswith("round finished")]
    number = r"[0-9.e+-]+"
    assert len(lines) == 2
    for round_, line in enumerate(lines, start=1):
        figures = f"loss=0.5 accuracy=0.75 epsilon={number} seconds={number}"
        expected = f"round finished round={round_} rounds=2 nodes=2 {figures}"
        assert re.fullmatch(expected, line), line


def test_the_history_counts_the_bytes_of_each_node(federation: Federation) -> None:
    model = {"w": np.zeros(1000, np.float32)}
    federation.run({"a": NullNode(initial=model)})
    (node,) = federation.history[0]["nodes"]
    # The node returns the model as it came, so it goes down once and not up; the rest is metrics and config.
    assert 4000 < node["bytes_down"] < 6000
    assert 0 < node["bytes_up"] < 1000


def test_the_best_round_has_the_lowest_loss_of_an_evaluation_on_all_partitions(
    federation: Federation,
) -> None:
    losses = {1: 0.5, 2: 0.25, 3: 0.125, 4: 0.75}

    def evaluate(_: Values, config: Config) -> Metrics:
        is_lost = config["partition"] == 1 and config["server-round"] == 3
        return GOOD | {"loss": losses[config["server-round"]], "num-examples": 0 if is_lost else 10}

    federation.run({"a": NullNode(evaluate=evaluate), "b": NullNode(evaluate=evaluate)}, num_rounds=4)
    assert [line["evaluate"]["metrics"]["loss"] for line in federation.history] == [0.5, 0.25, 0.125, 0.75]
    assert federation.facts["best"] == {"round": 2, "metric": "loss", "value": 0.25}


def test_a_run_that_samples_its_evaluations_has_no_best_round(federation: Federation) -> None:
    nodes = {"a": NullNode(), "b": NullNode()}
    federation.run(nodes, strategy_args={"fraction_evaluate": 0.5})
    assert federation.facts["best"] is None
    federation.run(nodes, strategy_args={"fraction_evaluate": 0})
    assert federation.history[0]["evaluate"] is None
    assert federation.facts["status"] == "finished"


def test_sites_are_all_of_the_data_together(federation: Federation) -> None:
    nodes = {"b": NullNode(), "a": NullNode()}
    federation.run(nodes, partition=PartitionRule("none"))
    assert federation.facts["best"] == {"round": 1, "metric": "loss", "value": 0.5}
    assert [(n["name"], n["partition"]) for n in federation.history[0]["nodes"]] == [("a", None), ("b", None)]
    for name, node in nodes.items():
        config = node.asked_to("train")[0]
        assert "partition" not in config
        assert config["node"] == name


def test_nodes_left_out_by_sampling_are_not_missed(federation: Federation) -> None:
    nodes = {name: NullNode(shift(1.0)) for name in "abcd"}
    federation.run(nodes, num_rounds=4, strategy_args={"fraction_train": 0.5})
    assert [len(line["nodes"]) for line in federation.history] == [2] * 4
    assert sum(len(node.asked_to("train")) for node in nodes.values()) == 8
    assert federation.model["0.weight"][0, 0] == 4.0


def test_the_documented_strategy_lowers_the_rate_as_the_history_shows(
    federation: Federation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "anneal.py").write_text(find_code("# anneal.py"))
    monkeypatch.syspath_prepend(tmp_path)
    losses = iter([3.0, 2.0, 2.5, 2.0, 1.0, 0.5])
    sent: list[float] = []

    def train(values: Any, config: Any) -> Any:
        sent.append(config["learning-rate"])
        return shift(1.0)(values, config)

    node = NullNode(train, lambda _, __: {"num-examples": 10, "loss": next(losses), "accuracy": 0.5})
    federation.run({"a": node}, num_rounds=6, learning_rate=0.5, strategy="anneal:make")
    assert sent == [0.5, 0.5, 0.5, 0.125, 0.03125, 0.03125]
    assert [line["learning_rate"] for line in federation.history] == sent


FAILING = """
from flwr.serverapp.strategy import FedAvg

class Failing(FedAvg):
    def aggregate_evaluate(self, server_round, replies):
        raise KeyError([reply.content["metrics"]["loss"] for reply in replies][0])

make = Failing
"""


def test_a_strategy_that_fails_on_an_evaluation_ends_the_run_with_its_line(
    federation: Federation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "failing.py").write_text(FAILING)
    monkeypatch.syspath_prepend(tmp_path)
    metrics = {"num-examples": 10, "loss": 0.5, "accuracy": 0.5}
    with pytest.raises(TrainingFailedError, match=r"^aggregate_evaluate\(\) .*0\.5 \(.*failing\.py:6\)"):
        federation.run({"a": NullNode(shift(1.0), lambda _, __: metrics)}, strategy="failing:make")


def test_the_history_has_the_learning_rate_of_each_round(federation: Federation) -> None:
    schedule = LearningRateSchedule.parse("warmup:2")
    federation.run({"a": NullNode()}, num_rounds=3, learning_rate=0.5, lr_schedule=schedule)
    assert [line["learning_rate"] for line in federation.history] == [0.25, 0.5, 0.5]
    assert federation.facts["settings"]["LR_SCHEDULE"] == "warmup:2"


def test_run_json_has_the_settings_and_the_outcome(federation: Federation) -> None:
    federation.run({"a": NullNode()}, num_rounds=2, seed=7, learning_rate=0.5)
    facts = federation.facts
    assert facts["run_id"] == federation.folder.resolve().name
    assert re.fullmatch(r"\d{8}-\d{6}-[0-9a-f]{4}", facts["run_id"])
    assert (facts["status"], facts["seed"], facts["rounds"]) == ("finished", 7, 2)
    assert facts["started"] <= facts["finished"]
    assert (facts["settings"]["LEARNING_RATE"], facts["settings"]["NUM_ROUNDS"]) == (0.5, 2)
    assert set(facts["versions"]) == {"fedmx", "python", "flwr", "numpy", "grpcio"}
    assert "reason" not in facts
