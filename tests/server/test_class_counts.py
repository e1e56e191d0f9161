"""Counts by class on the server: what is admitted, what is recorded of each node and of all, what decides."""

import json
from typing import Any

import numpy as np
import pytest
from flwr.app import ConfigRecord, MetricRecord, RecordDict

from fedmx.class_counts import RECORD, ClassCounts
from fedmx.errors import SettingsError
from fedmx.goals import BestMetric, Target
from fedmx.values import PartitionRule
from server import admission
from server.compatibility import find_difference, identity_of
from server.layout import Layout
from server.leases import Participant
from server.report import NodeReport, StepReport
from server.update import Update
from tests.server.federation import Federation
from tests.server.nodes import GOOD, Config, Metrics, NullNode, Values, shift

LAYOUT = Layout(
    {"w": ("float32", (1,))},
    frozenset(("w",)),
    frozenset(("loss", "accuracy")),
    frozenset(("loss",)),
    classes=2,
)


def count(above: list[float], labels: list[int]) -> ClassCounts:
    """Count examples of two classes by the probability of class 1."""
    above_ = np.array(above)
    return ClassCounts.count(np.stack([1 - above_, above_], axis=1), np.array(labels))


GOOD_METRICS = {"loss": 0.5, "accuracy": 0.75}
# By hand: AUC 3 of 4 pairs and 1 of 2; F1 2/3 and 0.
FITS = count([0.9, 0.4, 0.6, 0.1], [1, 1, 0, 0])
FAILS = count([0.3, 0.2, 0.4], [1, 0, 0])


def node(counts: ClassCounts | None, **description: Any) -> NullNode:
    examples = {} if counts is None else {"num-examples": counts.examples}
    return NullNode(
        evaluate=lambda _, __: GOOD | examples,
        counts=None if counts is None else counts.to_record(),
        description={"classes": 2, **description},
    )


def test_f1_and_auc_of_all_nodes_are_those_of_the_summed_counts(federation: Federation) -> None:
    federation.run({"fits": node(FITS), "fails": node(FAILS)})
    line = federation.history[0]
    total = FITS + FAILS
    # By hand: tp 1, fp 1, fn 2, and of 12 pairs 8 in order and one tie, 0.4 and 0.4.
    assert total.measure() == {"f1": pytest.approx(2 / 5), "auc": pytest.approx(8.5 / 12)}
    assert line["evaluate"] == {
        "num_examples": 7,
        "metrics": GOOD_METRICS | total.measure(),
        "confusion": [[3, 1], [2, 1]],
    }
    assert [(one["name"], one["evaluate"]) for one in line["nodes"]] == [
        (
            "fits",
            {
                "num_examples": 4,
                "metrics": GOOD_METRICS | {"f1": 0.5, "auc": 0.75},
                "confusion": [[1, 1], [1, 1]],
            },
        ),
        (
            "fails",
            {
                "num_examples": 3,
                "metrics": GOOD_METRICS | {"f1": 0.0, "auc": 0.5},
                "confusion": [[2, 0], [1, 0]],
            },
        ),
    ]
    assert line["undefined"] == []


def test_auc_is_undefined_at_a_site_with_one_class_and_defined_for_all(federation: Federation) -> None:
    federation.run({"ill": node(count([0.9, 0.4], [1, 1])), "well": node(count([0.6, 0.3], [0, 0]))})
    line = federation.history[0]
    assert line["evaluate"]["metrics"]["auc"] == 0.75
    assert [one["evaluate"]["metrics"].get("auc") for one in line["nodes"]] == [None, None]
    assert line["undefined"] == [
        {"name": name, "step": "evaluate", "metrics": ["auc"]} for name in ("ill", "well")
    ]


def test_nothing_is_summed_if_one_node_has_no_counts(federation: Federation) -> None:
    federation.run({"fits": node(FITS), "other": node(None)})
    line = federation.history[0]
    assert line["evaluate"] == {"num_examples": 14, "metrics": GOOD_METRICS}
    assert [one["evaluate"]["metrics"].get("auc") for one in line["nodes"]] == [0.75, None]


def test_a_metric_of_the_tasks_own_is_not_replaced(federation: Federation) -> None:
    names = {"metrics": ["auc", "loss"], "train-metrics": ["loss"]}
    nodes = {name: node(counts, **names) for name, counts in (("a", FITS), ("b", FAILS))}
    for each, auc in zip(nodes.values(), (0.25, float("nan")), strict=True):
        each.train = lambda values, _: (values, {"loss": 0.5, "num-examples": 10})
        each.evaluate = lambda _, __, auc=auc: {"loss": 0.5, "auc": auc, "num-examples": 4 if auc < 1 else 3}  # type: ignore[misc]
    federation.run(nodes)
    line = federation.history[0]
    assert line["evaluate"]["metrics"]["auc"] == 0.25
    assert line["evaluate"]["metrics"]["f1"] == pytest.approx(2 / 5)
    assert line["undefined"] == [{"name": "b", "step": "evaluate", "metrics": ["auc"]}]


def test_a_run_can_stop_at_an_auc_and_choose_its_best_round_by_f1(federation: Federation) -> None:
    growing = node(FAILS)

    def evaluate(_: Values, config: Config) -> Metrics:
        counts = FITS if config["server-round"] > 1 else FAILS
        growing.counts = counts.to_record()
        return GOOD | {"num-examples": counts.examples}

    growing.evaluate = evaluate
    goals = {"target": Target("auc", ">=", 0.7), "best_metric": BestMetric("f1", is_higher_better=True)}
    federation.run({"a": growing}, num_rounds=5, **goals)
    assert [line["evaluate"]["metrics"]["auc"] for line in federation.history] == [0.5, 0.75]
    assert federation.facts["stopped"] == "target"
    assert federation.facts["best"] == {"round": 2, "metric": "f1", "value": 0.5}


@pytest.mark.parametrize(
    "goal", [{"target": Target("auc", ">=", 0.7)}, {"best_metric": BestMetric("f1", is_higher_better=True)}]
)
def test_auc_and_f1_of_a_task_without_classes_are_rejected_before_round_1(
    goal: dict[str, Any], federation: Federation
) -> None:
    with pytest.raises(SettingsError, match="is not a metric of the nodes' evaluation"):
        federation.run({"a": NullNode()}, **goal)


def test_a_node_whose_training_was_rejected_is_listed_with_its_evaluation(federation: Federation) -> None:
    bad = node(FAILS)
    bad.train = shift(1.0, **{"num-examples": 0})
    federation.run({"good": node(FITS), "bad": bad}, min_clients=1)
    line = federation.history[0]
    assert [one["name"] for one in line["nodes"]] == ["good"]
    (other,) = line["only_evaluated"]
    assert (other["name"], other["partition"], other["examples"], other["metrics"]) == ("bad", 1, None, {})
    assert other["evaluate"]["confusion"] == [[2, 0], [1, 0]]
    assert other["bytes_up"] > 0


def test_a_node_whose_evaluation_was_rejected_is_listed_with_its_training_alone(
    federation: Federation,
) -> None:
    bad = node(FAILS)
    bad.evaluate = lambda _, __: GOOD | {"loss": float("nan")}
    federation.run({"good": node(FITS), "bad": bad})
    line = federation.history[0]
    assert [one["evaluate"] is None for one in line["nodes"]] == [False, True]
    assert line["evaluate"]["metrics"]["auc"] == 0.75
    assert line["only_evaluated"] == []


def test_sites_with_data_of_their_own_have_the_same_lines(federation: Federation) -> None:
    federation.run(
        {"north": node(FITS), "south": node(FAILS)}, partition=PartitionRule("none"), num_partitions=0
    )
    found = {one["name"]: one["evaluate"]["metrics"]["f1"] for one in federation.history[0]["nodes"]}
    assert found == {"north": 0.5, "south": 0.0}


def evaluation(counts: ConfigRecord | None, examples: float = 4) -> RecordDict:
    content = RecordDict({"metrics": MetricRecord(GOOD | {"num-examples": examples})})
    if counts is not None:
        content[RECORD] = counts
    return content


@pytest.mark.parametrize(
    ("content", "layout", "reason"),
    [
        (evaluation(FITS.to_record()), LAYOUT, None),
        (evaluation(None), LAYOUT, None),
        (
            evaluation(FITS.to_record(), 5),
            LAYOUT,
            "counts by class: a confusion matrix of 4 examples, expected 5",
        ),
        (
            evaluation(FITS.to_record(), 4.5),
            LAYOUT,
            "counts by class: a confusion matrix of 4 examples, expected 4.5",
        ),
        (evaluation(ConfigRecord({"scores": b""})), LAYOUT, "counts by class: confusion is missing"),
        (
            evaluation(FITS.to_record()),
            Layout(LAYOUT.arrays, LAYOUT.trained, LAYOUT.metrics, LAYOUT.train_metrics),
            "counts by class, expected none",
        ),
    ],
)
def test_counts_that_do_not_fit_the_reply_or_the_task_are_a_reason_to_reject_it(
    content: RecordDict, layout: Layout, reason: str | None
) -> None:
    assert admission.find_problem_in_evaluation(content, layout) == reason


def test_wrong_counts_cost_a_node_its_evaluation_and_nothing_else(federation: Federation) -> None:
    bad = node(FAILS)
    bad.counts = ConfigRecord({**FAILS.to_record(), "confusion": b"x" * 100})
    federation.run({"good": node(FITS), "bad": bad}, num_rounds=2)
    for line in federation.history:
        assert len(line["nodes"]) == 2
        (rejection,) = line["rejected"]
        assert (rejection["name"], rejection["step"]) == ("bad", "evaluate")
        assert rejection["reason"] == "counts by class: confusion cannot be decompressed"
    assert federation.facts["best"] is None, "not all partitions were evaluated"


def test_training_replies_have_no_counts_to_read() -> None:
    content = evaluation(ConfigRecord({"confusion": b"?"}))
    assert Update.unpack(Participant(1, "a", 0), content).counts is None


@pytest.mark.parametrize("classes", [-1, 1, 101, 2.0, True, "2", [2]])
def test_a_description_with_an_impossible_number_of_classes_is_rejected(classes: Any) -> None:
    described = NullNode(description={"classes": classes}).describe()
    with pytest.raises(ValueError, match=r"classes is .*, expected 0 or 2 to 100"):
        Layout.from_description(described)


def test_a_description_without_classes_counts_none() -> None:
    layout = Layout.from_description(NullNode().describe())
    assert (layout.classes, layout.evaluated) == (0, frozenset(("loss", "accuracy")))
    counted = Layout.from_description(NullNode(description={"classes": 3}).describe())
    assert (counted.classes, counted.evaluated) == (3, frozenset(("loss", "accuracy", "f1", "auc")))
    assert Layout.from_description(NullNode(description={"metrics": ["*"]}).describe()).evaluated is None


def test_nodes_must_count_the_same_number_of_classes() -> None:
    one, other = (NullNode(description={"classes": number}).describe() for number in (3, 0))
    assert find_difference(one, other, is_shared=False) == "its classes is 3, expected 0"
    assert find_difference(one, one, is_shared=False) is None


def test_a_node_that_counts_fits_a_run_that_is_resumed() -> None:
    described = NullNode(description={"classes": 3}).describe()
    before = ConfigRecord({**identity_of(described)})
    assert find_difference(described, before, is_shared=False) is None


@pytest.mark.parametrize(("classes", "is_listed"), [(20, True), (21, False)])
def test_the_matrix_of_each_node_is_left_out_for_many_classes_and_that_of_all_is_not(
    classes: int, is_listed: bool
) -> None:
    counts = ClassCounts.count(np.full((classes, classes), 1 / classes), np.arange(classes))
    update = Update(Participant(1, "a", 0), {}, {"loss": 0.5}, classes, counts)  # type: ignore[arg-type]
    node_report = NodeReport.build(None, update, [], [])
    assert node_report.evaluate is not None
    assert (node_report.evaluate.confusion is not None) == is_listed
    assert node_report.evaluate.metrics["auc"] == 0.5
    step = StepReport.average([update])
    assert step is not None
    assert step.confusion is not None
    assert json.loads(json.dumps(step.confusion)) == counts.confusion.tolist()
