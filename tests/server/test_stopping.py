"""The best round, and why a run ends before its last round."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fedmx.errors import SettingsError, StopSignal, TrainingFailedError
from fedmx.goals import BestMetric, Target
from fedmx.settings import ServerSettings
from server import privacy
from server.federation import federate
from server.record.resume import choose_run
from server.report import StepReport
from server.stopping import Standing, find_reason
from tests.server.federation import Federation
from tests.server.local_grid import LocalGrid
from tests.server.nodes import GOOD, Config, Metrics, NullNode, Values, shift
from tests.server.reports import make_report

ACCURACY = BestMetric("accuracy", is_higher_better=True)


def stand_after(values: list[float | None], rule: BestMetric, *, incomplete: int = 0) -> Standing:
    standing = Standing()
    for number, value in enumerate(values, start=1):
        metrics = {} if value is None else {rule.metric: value}
        evaluate = StepReport(20, metrics)
        report = make_report(number, evaluate=evaluate, is_complete=number != incomplete)
        standing = standing.after(report, rule)
    return standing


@pytest.mark.parametrize(
    ("values", "best", "stale"),
    [
        ([0.5, 0.75, 0.5], (2, 0.75), 1),
        ([0.5, 0.5, 0.5], (1, 0.5), 2),
        ([None, 0.5], (2, 0.5), 0),
        # A round in which the metric is undefined is no evaluation.
        ([0.5, None, 0.25], (1, 0.5), 1),
        ([None], None, 0),
    ],
)
def test_the_best_round_has_the_highest_accuracy_if_the_metric_is_maximized(
    values: list[float | None], best: tuple[int, float] | None, stale: int
) -> None:
    expected = {"round": best[0], "metric": "accuracy", "value": best[1]} if best else None
    assert stand_after(values, ACCURACY) == Standing(expected, stale)


def test_a_round_that_some_nodes_did_not_evaluate_is_neither_better_nor_stale() -> None:
    assert stand_after([0.5, 0.75, 0.25], ACCURACY, incomplete=2).stale == 1
    standing = stand_after([0.5, 0.75], ACCURACY, incomplete=2)
    assert (standing.best or {})["round"] == 1


def test_a_changed_best_metric_resets_the_best_round() -> None:
    standing = stand_after([0.5, 0.75], ACCURACY).after(make_report(3, 0.5), BestMetric("loss"))
    assert standing == Standing({"round": 3, "metric": "loss", "value": 0.5})


def test_a_target_counts_only_with_every_nodes_evaluation() -> None:
    settings = ServerSettings(target=Target.parse("loss<=0.5"))
    assert find_reason(make_report(1, 0.5), Standing(), settings) == "target"
    assert find_reason(make_report(1, 0.75), Standing(), settings) is None
    assert find_reason(make_report(1, None), Standing(), settings) is None
    assert find_reason(make_report(1, 0.5, is_complete=False), Standing(), settings) is None


def test_a_run_stops_after_as_many_stale_evaluations_as_its_patience() -> None:
    best = {"round": 1, "metric": "loss", "value": 0.5}
    report = make_report(3, 0.5)
    for patience, reason in ((0, None), (2, "patience"), (3, None)):
        assert find_reason(report, Standing(best, 2), ServerSettings(patience=patience)) == reason


def by_round(values: list[float]) -> Callable[[Values, Config], Metrics]:
    """Return an evaluation that measures another accuracy in each round."""
    return lambda _, config: GOOD | {"accuracy": values[config["server-round"] - 1]}


def make_nodes(values: list[float]) -> dict[str, NullNode | None]:
    return {name: NullNode(shift(1.0), by_round(values)) for name in "ab"}


RISING = [0.25, 0.5, 0.75, 1.0]
FALLING = [0.5, 0.75, 0.5, 0.5, 0.5, 0.5]
PRIVATE = {"dp_mode": "dp-fixed", "dp_args": {"noise_multiplier": 1.0}}


@pytest.mark.parametrize(
    ("values", "settings", "rounds", "reason"),
    [
        (RISING, {"target": Target.parse("accuracy>=0.75")}, 3, "target"),
        (RISING, {"target": Target.parse("accuracy>0.75")}, 4, "target"),
        (RISING, {"target": Target.parse("loss<0.5")}, 4, None),
        (FALLING, {"best_metric": ACCURACY, "patience": 2}, 4, "patience"),
        # The loss is the same in every round.
        (FALLING, {"patience": 2}, 3, "patience"),
        (FALLING, {"best_metric": ACCURACY, "patience": 5}, 4, None),
    ],
)
def test_a_run_stops_early_and_its_history_record_and_log_have_the_reason(
    federation: Federation, values: list[float], settings: dict[str, Any], rounds: int, reason: str | None
) -> None:
    federation.run(make_nodes(values), num_rounds=4, **settings)
    history = federation.history
    assert [line["round"] for line in history] == list(range(1, rounds + 1))
    assert [line.get("stopped") for line in history] == [None] * (rounds - 1) + [reason]
    facts = federation.facts
    assert (facts["status"], facts["stopped"], facts["rounds"]) == ("finished", reason, rounds)
    assert federation.model["0.weight"][0, 0] == rounds


def test_the_best_model_is_that_of_the_best_round(federation: Federation) -> None:
    federation.run(make_nodes(FALLING), num_rounds=4, best_metric=ACCURACY, keep_checkpoints=1)
    assert federation.facts["best"] == {"round": 2, "metric": "accuracy", "value": 0.75}
    assert federation.read("best")["0.weight"][0, 0] == 2
    assert federation.model["0.weight"][0, 0] == 4


def epsilon_after(rounds: int) -> float:
    accountant = privacy.PrivacyAccountant(1.0, ServerSettings().dp_delta)
    return [accountant.spend()["epsilon"] for _ in range(rounds)][-1]


def test_a_run_ends_before_the_round_that_would_spend_more_than_max_epsilon(federation: Federation) -> None:
    # Exactly what two rounds spend is allowed.
    federation.run(make_nodes(RISING), num_rounds=4, max_epsilon=epsilon_after(2), **PRIVATE)
    assert [line.get("stopped") for line in federation.history] == [None, "epsilon"]
    assert federation.history[-1]["privacy"]["epsilon"] == epsilon_after(2)
    assert (federation.facts["status"], federation.facts["stopped"]) == ("finished", "epsilon")


def test_reaching_max_epsilon_in_the_last_round_is_not_an_early_stop(federation: Federation) -> None:
    federation.run(make_nodes(RISING), num_rounds=2, max_epsilon=epsilon_after(2), **PRIVATE)
    assert [line.get("stopped") for line in federation.history] == [None, None]
    assert federation.facts["stopped"] is None


def make_settings(folder: Path, **given: Any) -> ServerSettings:
    return ServerSettings(
        **{"runs_dir": folder, "num_partitions": 1, "min_clients": 1, "lease_grace": 0.0, **given}
    )


def read(folder: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    run = folder / "latest"
    lines = (run / "history.jsonl").read_text().splitlines()
    return json.loads((run / "run.json").read_text()), [json.loads(line) for line in lines]


def die_in_evaluation(number: int, values: list[float]) -> NullNode:
    def evaluate(given: Values, config: Config) -> Metrics:
        if config["server-round"] == number:
            raise StopSignal(15)
        return by_round(values)(given, config)

    return NullNode(shift(1.0), evaluate)


@pytest.mark.parametrize("stopped_in", [2, 3])
def test_a_resumed_run_counts_its_patience_from_the_best_round_before(
    tmp_path: Path, stopped_in: int
) -> None:
    settings = make_settings(tmp_path, num_rounds=6, best_metric=ACCURACY, patience=3)
    values = [0.75, 0.5, 0.5, 0.5, 0.5, 0.5]
    with pytest.raises(StopSignal):
        federate(LocalGrid({1: die_in_evaluation(stopped_in, values)}), settings, choose_run(settings))
    federate(LocalGrid({1: NullNode(shift(1.0), by_round(values))}), settings, choose_run(settings))
    facts, history = read(tmp_path)
    assert [line.get("stopped") for line in history] == [None, None, None, "patience"]
    assert (facts["stopped"], facts["rounds"], facts["best"]["round"]) == ("patience", 4, 1)


def test_a_lost_model_that_was_sent_counts_towards_max_epsilon(tmp_path: Path) -> None:
    settings = make_settings(tmp_path, num_rounds=6, max_epsilon=epsilon_after(3), **PRIVATE)
    with pytest.raises(StopSignal):
        federate(LocalGrid({1: die_in_evaluation(3, RISING)}), settings, choose_run(settings))
    federate(LocalGrid({1: NullNode(shift(1.0))}), settings, choose_run(settings))
    facts, history = read(tmp_path)
    # The model of round 3 was sent once; another one would be the fourth.
    assert [line.get("stopped") for line in history] == [None, "epsilon"]
    assert (facts["status"], facts["stopped"], len(facts["releases"])) == ("finished", "epsilon", 3)


def test_a_run_whose_only_model_was_lost_fails_instead_of_sending_another(tmp_path: Path) -> None:
    settings = make_settings(tmp_path, num_rounds=6, max_epsilon=epsilon_after(1), **PRIVATE)
    with pytest.raises(StopSignal):
        federate(LocalGrid({1: die_in_evaluation(1, RISING)}), settings, choose_run(settings))
    with pytest.raises(TrainingFailedError, match=r"^MAX_EPSILON="):
        federate(LocalGrid({1: NullNode(shift(1.0))}), settings, choose_run(settings))


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"target": Target.parse("f1>=0.5")}, "TARGET=f1>=0.5"),
        ({"best_metric": BestMetric("f1")}, "BEST_METRIC=f1:min"),
        ({"patience": 1, "best_metric": BestMetric("f1")}, "BEST_METRIC=f1:min"),
    ],
)
def test_a_metric_that_nodes_do_not_measure_is_rejected_and_the_measured_ones_are_listed(
    federation: Federation, settings: dict[str, Any], name: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        federation.run({"a": NullNode()}, **settings)
    line = str(caught.value)
    assert line.startswith(f"{name}: ")
    assert "accuracy, loss" in line


@pytest.mark.parametrize("target", ["f1>=0.5", "accuracy>=0.75"])
def test_a_target_that_an_open_evaluation_does_not_measure_is_a_warning_after_round_1(
    federation: Federation, target: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fedmx.log.logger.propagate", True)
    node = NullNode(description={"metrics": ["*"]})
    federation.run({"a": node}, num_rounds=2, target=Target.parse(target))
    lines = [line for line in caplog.messages if line.startswith("the evaluation lacks a metric")]
    if target.startswith("accuracy"):
        assert (lines, federation.facts["stopped"]) == ([], "target")
        return
    [line] = lines
    for expected in ("TARGET=f1>=0.5", "accuracy"):
        assert expected in line


def test_a_metric_that_is_undefined_at_every_node_is_not_reported_as_missing(
    federation: Federation, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fedmx.log.logger.propagate", True)
    node = NullNode(evaluate=lambda _, __: GOOD | {"f1": math.nan}, description={"metrics": ["*"]})
    federation.run({"a": node}, target=Target.parse("f1>=0.5"))
    assert [line for line in caplog.messages if line.startswith("undefined metrics")] != []
    assert [line for line in caplog.messages if line.startswith("the evaluation lacks")] == []


@pytest.mark.parametrize(("settings", "is_refused"), [({}, False), ({"patience": 2}, True)])
def test_a_task_without_a_loss_has_no_best_round_by_default(
    federation: Federation,
    settings: dict[str, Any],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    *,
    is_refused: bool,
) -> None:
    measured = {"accuracy": 0.5, "num-examples": 10}
    node = NullNode(
        lambda values, _: (values, measured), lambda _, __: measured, description={"metrics": ["accuracy"]}
    )
    if is_refused:
        with pytest.raises(SettingsError, match=r"^BEST_METRIC=loss:min: "):
            federation.run({"a": node}, **settings)
        return
    monkeypatch.setattr("fedmx.log.logger.propagate", True)
    caplog.set_level("INFO", logger="fedmx")
    federation.run({"a": node}, **settings)
    [line] = [line for line in caplog.messages if line.startswith("no best round")]
    assert "best_metric=loss:min" in line
    assert "accuracy" in line
    assert federation.facts["best"] is None
    assert not (federation.folder / "best.npz").exists()
