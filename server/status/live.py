"""The current state of the run, described on a thread of its own.

The run's thread only records that something happened. Everything else, such as adding a round to the curves
or encoding the curves of 200 nodes, happens on one other thread, which owns that state: there are no locks,
and no round waits.
"""

import json
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fedmx import __version__
from fedmx.files import read_regular
from fedmx.log import warn
from server.overview import Overview, read_lines
from server.report import Opening, Outcome, RoundReport
from server.status.json_text import encode
from server.status.metrics import Metrics
from server.status.node_states import find_node_state
from server.status.replies import JSON, Body

WAITING, RUNNING, FAILED = "waiting", "running", "failed"


class LiveRun:
    """The run of this server, once there is one.

    Args:
        metrics: notified of the same.

    Attributes:
        executor: the thread that owns the description.
        state: waiting, running, or how the run ended.
        run_id: empty while there is no run.
        round: the newest finished round.
    """

    def __init__(self, metrics: Metrics) -> None:
        self.executor = ThreadPoolExecutor(1, "status-run")
        self.state = WAITING
        self.run_id = ""
        self.round = 0
        self._metrics = metrics
        self._opening: Opening | None = None
        self._overview = Overview()
        self._facts = _RunFile()
        # Version and text of the newest description of the run.
        self._described: tuple[object, str] = (None, "null")
        # Converts the monotonic times of nodes. It is fixed, so an unchanged status keeps its ETag.
        self._epoch = time.time() - time.monotonic()

    @property
    def has_ended(self) -> bool:
        """Whether the run has ended, successfully or not."""
        return self.state not in (WAITING, RUNNING)

    def open(self, opening: Opening) -> None:
        """Record that a run waits for nodes."""
        self.run_id = opening.run_id
        self._submit(self._open, opening)

    def start(self) -> None:
        """Record that training starts."""
        self._submit(self._metrics.note_start, time.time())
        self.state = RUNNING

    def add(self, report: RoundReport) -> None:
        """Record a finished round."""
        self.round = report.round
        self._submit(self._add, report)

    def end(self, outcome: Outcome) -> None:
        """Record how the run ended."""
        self.state = outcome.status

    def build_status(self, runs: str) -> Body:
        """Describe it as JSON. Called on the thread of `executor`.

        Args:
            runs: the runs on disk, in JSON.
        """
        state = self.state
        nodes = self._opening.nodes if self._opening else None
        known = {
            "fedmx": __version__,
            "state": state,
            "activity": nodes.activity.look().to_json() if nodes else None,
            "nodes": self._list_nodes(),
        }
        text = f'{encode(known)[:-1]},"run":{self._describe_run()},"runs":{runs}}}'
        now = encode({"now": datetime.now(UTC).isoformat(timespec="milliseconds")})
        # The ETag does not depend on the time.
        return Body.build(
            f"{now[:-1]},{text[1:]}".encode(),
            JSON,
            version=text.encode(),
            is_final=self.has_ended and state == self.state,
        )

    def build_run(self) -> Body:
        """Describe only the run, like those on disk. Called on the thread of `executor`."""
        return Body.build(self._describe_run().encode(), JSON)

    def build_metrics(self) -> Body:
        """Describe it for Prometheus. Called on the thread of `executor`."""
        state = self.state
        self._metrics.note_state(state)
        if self._opening:
            self._metrics.note_nodes(self._opening.nodes.all(), self._epoch)
        text, media_type = self._metrics.to_text()
        return Body.build(text, media_type, is_final=state not in (WAITING, RUNNING))

    def _open(self, opening: Opening) -> None:
        self._opening = opening
        self._metrics.note_run(opening.run_id, opening.settings)
        for line in read_lines(opening.folder / "history.jsonl"):
            self._overview.add(line)
            self._metrics.add(line)
            self.round = max(self.round, line["round"])

    def _add(self, report: RoundReport) -> None:
        line = report.to_line()
        self._overview.add(line)
        self._metrics.add(line)

    def _describe_run(self) -> str:
        """Return the run in JSON, described again only if it has changed."""
        if self._opening is None:
            return "null"
        facts = self._facts.read(self._opening)
        version = self._overview.last_round, self._facts.version
        if self._described[0] != version:
            self._described = version, encode(self._overview.describe(facts))
        return self._described[1]

    def _list_nodes(self) -> list[dict[str, Any]]:
        if self._opening is None:
            return []
        partitions = self._opening.nodes.membership.nodes
        return [
            {
                "name": node.name,
                "site": node.site,
                "partition": partitions.get(node.name),
                "device": node.device,
                "state": find_node_state(node),
                "since": None if node.is_expelled else _to_text(self._epoch + node.since),
            }
            for node in self._opening.nodes.all()
        ]

    def _submit(self, work: Callable[..., None], *arguments: object) -> None:
        self.executor.submit(work, *arguments).add_done_callback(_warn_of_failure)


class _RunFile:
    """The content of `run.json`, read again if the file was replaced."""

    def __init__(self) -> None:
        self.version: object = None
        self._facts: dict[str, Any] = {}

    def read(self, opening: Opening) -> dict[str, Any]:
        """Return the content; if it cannot be read, the settings with which the run was opened."""
        path: Path = opening.folder / "run.json"
        try:
            found = path.stat()
            version = found.st_mtime_ns, found.st_size, found.st_ino
            if version != self.version:
                self._facts = json.loads(read_regular(path))
                self.version = version
        except (OSError, ValueError):
            return self._facts or {"run_id": opening.run_id, "settings": opening.settings}
        return self._facts


def _to_text(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="seconds")


def _warn_of_failure(done: "Future[None]") -> None:
    if error := done.exception():
        warn("status page failed", reason=repr(error))
