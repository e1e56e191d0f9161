"""Writes a run for TensorBoard: one TensorBoard run for the federation, and one for each node.

Series have the same names for nodes and the federation, so one chart shows all of them. The files are in
RUNS_DIR/tensorboard: in a run's own folder, TensorBoard would find them a second time below `latest`.

They are written from the history, which has every round once. For a resumed run, they are rewritten from the
first round: an earlier server may have died before it wrote a round here, or TENSORBOARD may have been off.
"""

import time
from pathlib import Path

from server.record.history import HistoryTail
from server.report import Outcome, RoundReport, RunFacts
from server.reporting.reporter import Reporter
from server.trackers.event_files import EventFiles

# How many rounds are read and written at once.
_BATCH = 20
# A call of half a minute counts as hung, so the rest of a long history is left to the next call.
_BUDGET_S = 10.0
_BUDGET_IF_STOPPED_S = 1.0


class TensorBoard(Reporter):
    """Writes the files of one run.

    Args:
        folder: for the files of all runs.
        metric: the metric that TensorBoard shows beside the settings.
    """

    patience_s = 60.0

    def __init__(self, folder: Path, metric: str) -> None:
        self._folder = folder
        self._metric = metric
        self._files: EventFiles | None = None
        self._tail: HistoryTail | None = None

    def on_run(self, facts: RunFacts) -> None:
        """Write the settings, and the rounds of earlier servers."""
        files = EventFiles(self._folder / facts.run_id)
        files.remove()
        files.write_settings(facts.settings, self._metric)
        self._files = files
        self._tail = HistoryTail(facts.folder)
        self._write_rounds(_BUDGET_S)

    def on_round(self, _: RoundReport) -> None:
        """Write the new rounds of the history."""
        self._write_rounds(_BUDGET_S)

    def on_end(self, outcome: Outcome) -> None:
        """Write the remaining rounds."""
        is_stopped = outcome.status == "interrupted"
        self._write_rounds(_BUDGET_IF_STOPPED_S if is_stopped else self.patience_s)

    def _write_rounds(self, budget_s: float) -> None:
        if self._files is None or self._tail is None:
            return
        deadline = time.monotonic() + budget_s
        while lines := self._tail.read(_BATCH):
            self._files.write_rounds(lines)
            self._tail.mark_done()
            if time.monotonic() > deadline:
                return
