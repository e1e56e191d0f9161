"""Records the start or resume of a run, and its end, in the event log."""

from fedmx.event_log import EventLog
from fedmx.settings import ServerSettings
from server.report import Opening, Outcome
from server.reporting.reporter import Reporter


class RunEvents(Reporter):
    """Records the start and the end of a run in the event log.

    Args:
        events: the event log of the runs folder.
    """

    # Each line is one small write, and a failure only a WARNING.
    in_background = False

    def __init__(self, events: EventLog) -> None:
        self._events = events
        self._run_id: str | None = None

    def on_open(self, opening: Opening) -> None:
        """Record that the run begins."""
        self._run_id = opening.run_id
        name = opening.settings.get("RUN_NAME") or None
        self._events.note("run resumed" if opening.is_resumed else "run started", run=self._run_id, name=name)

    def on_end(self, outcome: Outcome) -> None:
        """Record how the run ended."""
        if self._run_id is None:
            return
        best = outcome.best or {}
        self._events.note(
            f"run {outcome.status}",
            run=self._run_id,
            reason=outcome.reason,
            exit_code=outcome.exit_code,
            model_sha256=outcome.model_sha256,
            stopped=outcome.stopped,
            best_round=best.get("round"),
        )


def make(settings: ServerSettings) -> Reporter:
    """Build the reporter, which is always on."""
    return RunEvents(EventLog(settings.runs_dir))
