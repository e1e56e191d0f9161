"""Which round is the best so far, and whether a run ends before NUM_ROUNDS: pure functions of its rounds.

Both are decided once, before the round is written, and are in its checkpoint: a resumed run stops at the same
round as an uninterrupted one.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from fedmx.goals import BestMetric
from fedmx.settings import ServerSettings
from server.report import RoundReport

TARGET, PATIENCE, EPSILON = "target", "patience", "epsilon"


@dataclass(frozen=True)
class Standing:
    """The best round of a run so far, among those whose evaluation covers all of the test set.

    Attributes:
        best: round, metric and value of the best round; None before the first such evaluation.
        stale: number of such evaluations after the best one.
    """

    best: Mapping[str, Any] | None = None
    stale: int = 0

    def after(self, report: RoundReport, rule: BestMetric) -> "Standing":
        """Return the standing after one more round."""
        value = report.find_metric(rule.metric)
        if value is None:
            return self
        before = self.best if self.best and self.best["metric"] == rule.metric else None
        if before is None or rule.is_better(value, before["value"]):
            return Standing({"round": report.round, "metric": rule.metric, "value": value})
        return replace(self, stale=self.stale + 1)


def find_reason(report: RoundReport, standing: Standing, settings: ServerSettings) -> str | None:
    """Return why the run ends after a round: `target` or `patience`; None if neither is a reason.

    Args:
        report: the round.
        standing: the standing after it.
        settings: the server's settings.
    """
    if settings.target is not None:
        value = report.find_metric(settings.target.metric)
        if value is not None and settings.target.is_reached(value):
            return TARGET
    return PATIENCE if 0 < settings.patience <= standing.stale else None
