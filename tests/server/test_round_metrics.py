"""Metrics of a round: undefined ones, ones of the user's own, and tasks without a loss."""

import json
import math
from typing import Any

import pytest

from fedmx.errors import TrainingFailedError
from tests.server.federation import Federation
from tests.server.nodes import GOOD, Config, Metrics, NullNode, Values, shift


def refuse_constant(name: str) -> None:
    raise AssertionError(f"{name} is not JSON")


@pytest.mark.parametrize("undefined", [math.nan, math.inf, -math.inf])
def test_a_metric_that_is_undefined_at_one_site_is_left_out_there_alone(
    federation: Federation,
    undefined: float,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("fedmx.log.logger.propagate", True)

    def node(by: float, auc: float, examples: int) -> NullNode:
        metrics = GOOD | {"accuracy": auc, "num-examples": examples}
        return NullNode(shift(by, **metrics), lambda _, __: metrics)

    federation.run(
        {"a": node(1.0, 0.5, 10), "b": node(3.0, undefined, 20), "c": node(1.0, 1.0, 30)}, num_rounds=2
    )
    # By hand: (1 * 10 + 3 * 20 + 1 * 30) / 60 in each round, and (0.5 * 10 + 1 * 30) / 40.
    assert federation.model["0.weight"][0, 0] == pytest.approx(2 * 100 / 60)
    text = (federation.folder / "history.jsonl").read_text()
    lines = [json.loads(line, parse_constant=refuse_constant) for line in text.splitlines()]
    for line in lines:
        means = {"num_examples": 60, "metrics": {"loss": 0.5, "accuracy": 0.875}}
        assert line["train"] == line["evaluate"] == means
        assert line["rejected"] == []
        assert line["undefined"] == [
            {"name": "b", "step": step, "metrics": ["accuracy"]} for step in ("train", "evaluate")
        ]
        assert [node["metrics"].get("accuracy") for node in line["nodes"]] == [0.5, None, 1.0]
    assert federation.facts["best"] == {"round": 1, "metric": "loss", "value": 0.5}
    warnings = [line for line in caplog.messages if line.startswith("undefined metrics")]
    assert len(warnings) == 2, "one for each step, not for each round"
    assert all("node=b" in line and "accuracy" in line for line in warnings)


def test_a_metric_that_is_undefined_everywhere_is_absent_and_the_run_continues(
    federation: Federation,
) -> None:
    metrics = GOOD | {"accuracy": math.nan}
    nodes = {name: NullNode(shift(1.0, **metrics), lambda _, __: metrics) for name in ("a", "b")}
    federation.run(nodes, num_rounds=2)
    assert [line["evaluate"] for line in federation.history] == [
        {"num_examples": 20, "metrics": {"loss": 0.5}}
    ] * 2
    assert federation.facts["best"] == {"round": 1, "metric": "loss", "value": 0.5}
    assert federation.model["0.weight"][0, 0] == 2.0


def test_an_undefined_metric_does_not_hide_the_best_round(federation: Federation) -> None:
    losses = {1: 0.5, 2: 0.25, 3: 0.75}

    def evaluate(_: Values, config: Config) -> Metrics:
        return GOOD | {"loss": losses[config["server-round"]], "accuracy": math.nan}

    federation.run({"a": NullNode(evaluate=evaluate), "b": NullNode()}, num_rounds=3)
    assert federation.facts["best"] == {"round": 2, "metric": "loss", "value": 0.375}


def test_a_metric_of_the_users_own_reaches_the_history(federation: Federation) -> None:
    def node(top: float) -> NullNode:
        metrics = GOOD | {"top-5": top}
        description = {"metrics": ["accuracy", "loss", "top-5"]}
        return NullNode(lambda values, _: (values, metrics), lambda _, __: metrics, description=description)

    federation.run({"a": node(0.5), "b": node(1.0)})
    line = federation.history[0]
    assert line["evaluate"]["metrics"]["top-5"] == 0.75
    assert [node["metrics"]["top-5"] for node in line["nodes"]] == [0.5, 1.0]


def test_a_task_without_a_loss_trains_and_is_evaluated_by_its_own_numbers(federation: Federation) -> None:
    def node(score: float, weight: float) -> NullNode:
        trained = {"generator": score, "num-examples": 10}
        measured = {"mAP": score, "num-examples": weight}
        description = {"metrics": ["mAP"], "train-metrics": ["generator"]}
        return NullNode(
            lambda values, _: (shift(1.0)(values, {})[0], trained),
            lambda _, __: measured,
            description=description,
        )

    federation.run({"a": node(0.5, 0.5), "b": node(1.0, 1.5)}, num_rounds=2)
    line = federation.history[-1]
    assert line["train"] == {"num_examples": 20, "metrics": {"generator": 0.75}}
    # By hand: (0.5 * 0.5 + 1.0 * 1.5) / 2.
    assert line["evaluate"] == {"num_examples": 2.0, "metrics": {"mAP": 0.875}}
    assert federation.facts["best"] is None
    assert federation.model["0.weight"][0, 0] == 2.0


OPEN = {"metrics": ["*"]}


def test_nodes_may_return_different_metrics_if_their_task_does_not_declare_them(
    federation: Federation,
) -> None:
    def node(**metrics: float) -> NullNode:
        numbers = {**metrics, "num-examples": 10}
        return NullNode(shift_with(numbers), lambda _, __: numbers, description=OPEN)

    federation.run({"a": node(f1=0.5, loss=0.25), "b": node(f1=1.0)}, num_rounds=2, strategy="fedadam")
    line = federation.history[-1]
    for step in ("train", "evaluate"):
        assert line[step] == {"num_examples": 20, "metrics": {"f1": 0.75, "loss": 0.25}}


def shift_with(numbers: Metrics) -> Any:
    return lambda values, config: (shift(1.0)(values, config)[0], numbers)


def test_a_strategy_that_needs_the_loss_names_the_node_whose_update_has_none(federation: Federation) -> None:
    without = NullNode(shift_with({"f1": 0.5, "num-examples": 10}), description=OPEN)
    with pytest.raises(TrainingFailedError) as caught:
        federation.run({"a": NullNode(description=OPEN), "b": without}, strategy="qfedavg")
    for expected in ("round 1", "QFedAvg", "loss", "update of b"):
        assert expected in str(caught.value)


def test_a_task_that_measures_nothing_trains(federation: Federation) -> None:
    nothing = {"num-examples": 10}
    train = NullNode(lambda values, _: (values, nothing), lambda _, __: nothing, description={"metrics": []})
    federation.run({"a": train})
    line = federation.history[0]
    assert line["train"] == line["evaluate"] == {"num_examples": 10, "metrics": {}}


def test_no_name_of_a_metric_is_reserved(
    federation: Federation, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fedmx.log.logger.propagate", True)
    caplog.set_level("INFO", logger="fedmx")
    names = ["time", "level", "event", "name", "seconds", "round", "rounds", "nodes", "epsilon", "partition"]
    names += ["examples", "bytes_up", "num_examples", "metrics", "traceback", "loss"]
    metrics = {"num-examples": 10, **{name: float(n) for n, name in enumerate(names)}}
    node = NullNode(shift(1.0), lambda _, __: metrics, description={"metrics": names})
    node.train = lambda values, _: (values, metrics)
    federation.run({"a": node}, num_rounds=1)
    expected = {name: float(n) for n, name in enumerate(names)}
    line = federation.history[0]
    for measured in (line["train"], line["evaluate"], line["nodes"][0]):
        assert measured["metrics"] == expected
    assert (line["round"], line["evaluate"]["num_examples"]) == (1, 10)
    (logged,) = [record for record in caplog.records if "round finished" in record.message]
    fields = vars(logged)["fields"]
    assert (fields["round"], fields["metrics"]) == (1, expected)
    assert "metrics.round=5" in logged.message
