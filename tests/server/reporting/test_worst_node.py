"""The line about the node whose data fit the model worst."""

import io
import json
from typing import Any

import pytest

from fedmx import log
from fedmx.goals import BestMetric
from fedmx.settings import ServerSettings
from server.report import NodeReport, Outcome, StepReport
from server.reporting.worst_node import make
from tests.server.reports import make_report

FINISHED = Outcome("finished")


def node(name: str, partition: int | None = None, **metrics: float) -> NodeReport:
    evaluate = StepReport(10, metrics) if metrics else None
    return NodeReport(name, None, partition, 30, {"loss": 0.1}, evaluate, 1.0, 100, 200)


def report_lines(
    *nodes: NodeReport, rule: str = "loss:min", outcome: Outcome = FINISHED, **others: Any
) -> list[dict[str, Any]]:
    stream = io.StringIO()
    log.configure("INFO", "json", stream)
    reporter = make(ServerSettings(best_metric=BestMetric.parse(rule)))
    total = StepReport(30, {"loss": 0.5, "auc": 0.75})
    reporter.on_round(make_report(2, evaluate=total, nodes=list(nodes), **others))
    reporter.on_end(outcome)
    return [json.loads(line) for line in stream.getvalue().splitlines()]


SITES = (node("north", loss=0.2, auc=0.9), node("south", loss=0.9, auc=0.6), node("west", loss=0.3, auc=0.5))


@pytest.mark.parametrize(
    ("rule", "name", "value", "of_all"), [("loss:min", "south", 0.9, 0.5), ("auc:max", "west", 0.5, 0.75)]
)
def test_the_worst_site_by_the_best_metric_is_logged_beside_the_average(
    rule: str, name: str, value: float, of_all: float
) -> None:
    (line,) = report_lines(*SITES, rule=rule)
    found = {key: line[key] for key in ("level", "event", "round", "node", "metric", "value", "all_nodes")}
    assert found == {
        "level": "INFO",
        "event": "worst node",
        "round": 2,
        "node": name,
        "metric": rule.partition(":")[0],
        "value": value,
        "all_nodes": of_all,
    }


def test_a_node_that_was_only_evaluated_counts() -> None:
    (line,) = report_lines(*SITES, only_evaluated=[node("east", loss=2.5)])
    assert line["node"] == "east"


@pytest.mark.parametrize(
    "nodes",
    [
        SITES[:1],
        # Parts of one dataset differ by chance.
        (node("a", 0, loss=0.2), node("b", 1, loss=0.4)),
        (node("north", auc=0.9), node("south", auc=0.6)),
        (node("north"), node("south", loss=0.9)),
    ],
)
def test_without_two_sites_to_compare_there_is_no_line(nodes: tuple[NodeReport, ...]) -> None:
    assert report_lines(*nodes) == []


def test_a_run_that_failed_has_no_line() -> None:
    assert report_lines(*SITES, outcome=Outcome("failed", reason="no nodes", exit_code=4)) == []
