"""Reports a run's settings, metrics and models to an MLflow server.

Metrics are sent from the history, with the time at which their round ended: a round that could not be sent
is sent later, and one that is sent twice is a single point. A resumed run stays one MLflow run: `mlflow.json`
in the run's folder has its id.
"""

import json
import time
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from fedmx.files import atomic_write, read_regular
from fedmx.log import event, warn
from server.record.history import HistoryTail
from server.record.series import LAST, list_node_values, list_values
from server.report import Opening, Outcome, RoundReport
from server.reporting.reporter import Reporter
from server.trackers.http_client import RequestError
from server.trackers.mlflow_api import MOST_METRICS, Tracker, as_parameter

_FILE = "mlflow.json"
_ARTIFACTS = ("model.npz", "model.params", "best.npz", "best.params", "run.json", "history.jsonl")
_STATUS = {"finished": "FINISHED", "failed": "FAILED", "interrupted": "KILLED"}

# A call of half a minute counts as hung, so the rest of a long history is left to the next call.
_BUDGET_S = 8.0
# After a failure, rounds wait this long: a hanging server must not delay each of them.
_PAUSE_S = 30.0
_LIMIT_IF_STOPPED_S = 1.0


class MLflow(Reporter):
    """Reports one run.

    Args:
        tracker: the MLflow server.
        experiment: the name of the run's experiment.
    """

    # A model may be large, and the connection slow.
    patience_s = 120.0

    def __init__(self, tracker: Tracker, experiment: str) -> None:
        self._tracker = tracker
        self._experiment = experiment
        self._opening: Opening | None = None
        self._tail: HistoryTail | None = None
        # Empty until MLflow has the run.
        self._run_id = ""
        self._artifact_uri = ""
        # The last round that an earlier server has sent.
        self._sent = 0
        self._paused_until = 0.0

    def on_open(self, opening: Opening) -> None:
        """Create the run, or find the one that an earlier server created."""
        self._opening = opening
        self._tail = HistoryTail(opening.folder)
        self._report(_BUDGET_S)

    def on_round(self, _: RoundReport) -> None:
        """Send the new rounds of the history."""
        self._report(_BUDGET_S)

    def on_end(self, outcome: Outcome) -> None:
        """Send the remaining rounds, the files of a finished run, and the status."""
        status = _STATUS.get(outcome.status, "FAILED")
        if outcome.status == "interrupted":
            self._tracker.limit_s = _LIMIT_IF_STOPPED_S
            self._end(status)
            return
        self._paused_until = 0.0
        self._report(self.patience_s)
        try:
            if outcome.status == "finished":
                self._upload()
        finally:
            self._end(status)

    def _report(self, budget_s: float) -> None:
        """Open the run if necessary, and send rounds."""
        if self._opening is None or time.monotonic() < self._paused_until:
            return
        try:
            if not self._run_id:
                self._open(self._opening)
            self._send_rounds(budget_s)
        except RequestError:
            self._paused_until = time.monotonic() + _PAUSE_S
            raise

    def _open(self, opening: Opening) -> None:
        run = self._find(opening) or self._create(opening)
        info, data = run["info"], run.get("data", {})
        with atomic_write(opening.folder / _FILE) as file:
            file.write(json.dumps({"run_id": info["run_id"]}).encode())
        self._log_settings(info["run_id"], opening.settings, data.get("params", ()))
        steps = {entry["key"]: int(entry.get("step", 0)) for entry in data.get("metrics", ())}
        self._sent = steps.get(LAST, 0)
        self._artifact_uri = info.get("artifact_uri", "")
        self._run_id = info["run_id"]
        event("reporting to MLflow", server=self._tracker.shown, run=self._run_id)

    def _find(self, opening: Opening) -> Any:
        """Return the run that an earlier server created; None if MLflow has no such run."""
        try:
            run_id = str(json.loads((opening.folder / _FILE).read_bytes())["run_id"])
        except (OSError, ValueError, KeyError, TypeError):
            return None
        found = self._tracker.find_run(run_id)
        if found is not None:
            self._tracker.update_run(run_id, "RUNNING", run_name=_name(opening))
        return found

    def _create(self, opening: Opening) -> Any:
        settings = opening.settings
        facts = json.loads(read_regular(opening.folder / "run.json"))
        tags = {
            "fedmx.run_id": opening.run_id,
            "fedmx.tags": str(settings.get("RUN_TAGS", "")),
            "mlflow.note.content": str(settings.get("RUN_NOTES", "")),
            "mlflow.source.name": "fedmx",
        }
        return self._tracker.create_run(
            self._tracker.find_experiment(self._experiment),
            _name(opening),
            _in_ms(facts["started"]),
            {name: text for name, text in tags.items() if text},
        )

    def _log_settings(
        self, run_id: str, settings: Mapping[str, object], entries: Iterable[Mapping[str, str]]
    ) -> None:
        """Log settings as parameters, and those that a resumed run has changed as tags."""
        known = {entry["key"]: entry.get("value", "") for entry in entries}
        new = {name: value for name, value in settings.items() if name not in known}
        if new:
            self._tracker.log_parameters(run_id, new)
        texts = {name: as_parameter(value) for name, value in settings.items() if name in known}
        changed = {f"changed.{name}": text for name, text in texts.items() if text != known[name]}
        if changed:
            self._tracker.log_tags(run_id, changed)

    def _send_rounds(self, budget_s: float) -> None:
        if self._tail is None:
            return
        deadline = time.monotonic() + budget_s
        most = 1
        while lines := self._tail.read(most):
            # A round whose checkpoint is lost is trained again, but MLflow cannot remove its first metrics.
            new = [line for line in lines if line["round"] > self._sent]
            metrics = [metric for line in new for metric in _list_metrics(line)]
            self._tracker.log_metrics(self._run_id, metrics)
            self._tail.mark_done()
            if time.monotonic() > deadline:
                return
            most = max(1, MOST_METRICS * len(lines) // max(1, len(metrics)))

    def _upload(self) -> None:
        """Send the files of the run."""
        parts = urlsplit(self._artifact_uri)
        if self._opening is None or not self._run_id:
            return
        if parts.scheme != "mlflow-artifacts":
            warn(
                "model not sent to MLflow",
                server=self._tracker.shown,
                reason="it stores no artifacts for its clients; expected one started with --serve-artifacts",
            )
            return
        for name in _ARTIFACTS:
            path = self._opening.folder / name
            if path.exists():
                self._tracker.upload(path, f"{parts.path.strip('/')}/{name}")

    def _end(self, status: str) -> None:
        if self._run_id:
            self._tracker.update_run(self._run_id, status, end_time=int(1000 * time.time()))


def _name(opening: Opening) -> str:
    """Return the name of a run in MLflow."""
    return str(opening.settings.get("RUN_NAME") or opening.run_id)


def _list_metrics(line: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the metrics of a round, with `LAST` at the end."""
    # Rounds from an earlier version of fedmx have no time.
    timestamp = _in_ms(line["time"]) if line.get("time") else int(1000 * time.time())
    named = ((f"nodes/{name}/", values) for name, values in list_node_values(line))
    for prefix, values in (*named, ("", list_values(line))):
        for name, value in values.items():
            yield {"key": prefix + name, "value": value, "timestamp": timestamp, "step": line["round"]}


def _in_ms(time_text: str) -> int:
    return int(1000 * datetime.fromisoformat(time_text).timestamp())
