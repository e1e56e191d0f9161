"""The interface of a reporter."""

from server.report import Opening, Outcome, RoundReport, RunFacts


class ReporterError(Exception):
    """What a reporter needs, such as a server, does not work. The message is for the log."""


class Reporter:
    """Watches a run. A subclass overrides the methods that it needs.

    Attributes:
        in_background: whether it is called on a thread of its own, where a slow reporter delays no round. One
            that only writes to the log or to memory may be called directly.
        patience_s: how long the program waits at its end for a reporter in the background to finish.
        url: where a person can watch the run in a browser; None if nowhere.
    """

    in_background = True
    patience_s = 10.0
    url: str | None = None

    def on_open(self, opening: Opening) -> None:
        """Report that a run has its folder and waits for nodes."""

    def on_run(self, facts: RunFacts) -> None:
        """Report that a run starts, or is resumed."""

    def on_round(self, report: RoundReport) -> None:
        """Report a finished round, which is on disk already."""

    def on_end(self, outcome: Outcome) -> None:
        """Report how the run ended."""

    def close(self, *, is_stopped: bool) -> None:
        """Release what the reporter holds: the nodes were notified, and the program ends next.

        It is called once more if a signal arrives meanwhile.

        Args:
            is_stopped: whether a signal ends the program, which then has to end within seconds.
        """
