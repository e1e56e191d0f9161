"""What a reporter is."""

from server.report import Opening, Outcome, RoundReport, RunFacts


class Reporter:
    """Watches a run. A reporter overrides what it needs of this.

    Attributes:
        in_background: whether it is called on a thread of its own, so that a slow reporter costs no round.
            One that writes nothing but the log or memory may be called directly.
        patience_s: how long the end of the program waits for what a reporter in the background has yet to do.
        url: where a person can watch the run in a browser; None if it has no such place.
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

        Args:
            is_stopped: whether a signal ends the program, which then has to end within seconds.
        """
