"""Logs the worst node at the end of a run whose sites have their own data.

This is not a WARNING: some site is always the worst, and what is too bad depends on the task.
"""

from fedmx.goals import BestMetric
from fedmx.log import event
from fedmx.settings import ServerSettings
from server.report import Outcome, RoundReport
from server.reporting.reporter import Reporter


class WorstNode(Reporter):
    """Logs the worst node of the last round beside the average of all.

    Args:
        rule: the metric that compares nodes.
    """

    in_background = False

    def __init__(self, rule: BestMetric) -> None:
        self._rule = rule
        self._last: RoundReport | None = None

    def on_round(self, report: RoundReport) -> None:
        """Keep the newest round."""
        self._last = report

    def on_end(self, outcome: Outcome) -> None:
        """Log the worst node of a finished run."""
        last = self._last
        if outcome.status != "finished" or last is None or last.evaluate is None:
            return
        metric = self._rule.metric
        # Partitions of one dataset have random parts of its test set, which differ by chance.
        values = [
            (node.evaluate.metrics[metric], node.name)
            for node in (*last.nodes, *last.only_evaluated)
            if node.partition is None and node.evaluate is not None and metric in node.evaluate.metrics
        ]
        if len(values) > 1:
            value, name = (min if self._rule.is_higher_better else max)(values)
            event(
                "worst node",
                round=last.round,
                node=name,
                metric=metric,
                value=value,
                all_nodes=last.evaluate.metrics.get(metric),
            )


def make(settings: ServerSettings) -> Reporter:
    """Build the reporter; BEST_METRIC compares the nodes."""
    return WorstNode(settings.best_metric)
