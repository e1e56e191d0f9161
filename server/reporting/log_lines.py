"""The log's lines of a run: its start, each round, and its end."""

from fedmx.log import event
from fedmx.settings import ServerSettings
from server.report import Outcome, RoundReport, RunFacts
from server.reporting.reporter import Reporter


class LogLines(Reporter):
    """Logs a line for the start, each round, and the end of a run."""

    in_background = False

    def on_run(self, facts: RunFacts) -> None:
        """Log that the run starts."""
        name = "run resumed" if facts.is_resumed else "run started"
        event(name, run=facts.run_id, round=facts.first_round, nodes=facts.nodes, folder=facts.folder)

    def on_round(self, report: RoundReport) -> None:
        """Log the loss and the metrics of a round: those of the evaluation, or else those of the training."""
        metrics = None if report.evaluate is None else report.evaluate.metrics
        if metrics is None and report.train is not None:
            metrics = {f"train_{name}": value for name, value in report.train.metrics.items()}
        event(
            "round finished",
            round=report.round,
            rounds=report.rounds,
            nodes=len(report.nodes),
            metrics=metrics,
            epsilon=None if report.privacy is None else report.privacy["epsilon"],
            seconds=report.seconds.total,
        )

    def on_end(self, outcome: Outcome) -> None:
        """Log the final model; the program itself logs why a run failed."""
        if outcome.status == "finished":
            event(
                "run finished",
                model=outcome.model,
                model_sha256=outcome.model_sha256,
                stopped=outcome.stopped,
                best_round=outcome.best["round"] if outcome.best else None,
                evaluation=None if outcome.is_evaluated else "no round was evaluated",
            )


def make(_: ServerSettings) -> Reporter:
    """Build the reporter, which is always on."""
    return LogLines()
