"""Logs what each site contributed, at the end of a run with several sites."""

from pathlib import Path

from fedmx.log import event
from fedmx.settings import ServerSettings
from server.overview import read_overview
from server.report import Opening, Outcome
from server.reporting.reporter import Reporter


class SiteTotals(Reporter):
    """Logs a line for each site, with totals over all rounds, including those before a resume."""

    def __init__(self) -> None:
        self._folder: Path | None = None

    def on_open(self, opening: Opening) -> None:
        """Remember the folder."""
        self._folder = opening.folder

    def on_end(self, _: Outcome) -> None:
        """Log the totals, however the run ended."""
        if self._folder is None:
            return
        sites = read_overview(self._folder)["sites"]
        if len(sites) > 1:
            for site in sites:
                event("site totals", **site)


def make(_: ServerSettings) -> Reporter:
    """Build the reporter, which is always on."""
    return SiteTotals()
