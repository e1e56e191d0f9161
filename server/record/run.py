"""Owns the folder of one run: `run.json`, the history, the checkpoints and the final model."""

import json
import shutil
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from flwr.app import Array, ArrayRecord

from fedmx import arrays
from fedmx.errors import DataError
from fedmx.fields import describe, describe_model
from fedmx.files import atomic_write, disk_errors
from fedmx.round_news import Result, RoundNews
from fedmx.run_state import FORMAT
from fedmx.settings import ServerSettings
from server import stopping
from server.initial_model import InitialModel
from server.leases import Membership
from server.record import checkpoint, model_files
from server.record.checkpoint import Checkpoint, Facts, State
from server.record.history import History
from server.record.runs import NewestRun, point_latest_to
from server.record.versions import versions
from server.report import Outcome, RoundReport
from server.stopping import Standing


class RunRecord:
    """The files of one run, which may end before its first round.

    All methods raise `DataError` if the disk fails, which fails the run: a round that is not on disk would be
    lost after a crash.

    Args:
        folder: the run's folder, which exists.
        facts: the content of `run.json`.
        settings: the server's settings.
    """

    def __init__(self, folder: Path, facts: dict[str, Any], settings: ServerSettings) -> None:
        self.folder = folder
        self._facts = facts
        self._settings = settings
        self._history = History(folder)
        self._standing = Standing()
        # The newest line of the history.
        self._line: Mapping[str, Any] | None = None
        self._write_facts()

    @classmethod
    def begin(cls, run_id: str, settings: ServerSettings, initial: InitialModel | None = None) -> "RunRecord":
        """Create the folder of a new run, and point `latest` to it.

        Args:
            run_id: the run's name.
            settings: the server's.
            initial: INITIAL_MODEL, if it is given.
        """
        folder = settings.runs_dir / run_id
        facts: dict[str, Any] = {
            "format": FORMAT,
            "run_id": run_id,
            **_describe_for_people(settings),
            "status": "running",
            "started": _now(),
            "finished": None,
            "resumed": [],
            "seed": settings.seed,
            "partitions": 0,
            "nodes": {},
            "description": None,
            "schema": None,
            "model_bytes": None,
            "initial_model": {"path": str(initial.path), "sha256": initial.sha256} if initial else None,
            "rounds": 0,
            "releases": [],
            "stopped": None,
            "best": None,
            "model_sha256": None,
            "best_sha256": None,
            "settings": describe(settings),
            "versions": versions(),
        }
        with disk_errors(folder):
            folder.mkdir(parents=True)
        try:
            record = cls(folder, facts, settings)
            point_latest_to(folder)
        except DataError:
            # A run without a complete record must not be found by the next server.
            shutil.rmtree(folder, ignore_errors=True)
            raise
        return record

    @classmethod
    def resume(cls, run: NewestRun, settings: ServerSettings, done: Facts | None) -> "RunRecord":
        """Continue after the round of a checkpoint; later rounds are discarded.

        Args:
            run: the run to resume, as found on disk.
            settings: the server's current settings.
            done: the checkpoint's facts; None if round 1 was not completed.
        """
        if done:
            checkpoint.set_aside(run.folder / checkpoint.FOLDER, after=done.round)
        facts = {name: value for name, value in run.facts.items() if name not in ("reason", "exit_code")}
        facts |= {
            **_describe_for_people(settings),
            "status": "running",
            "finished": None,
            "resumed": [*facts["resumed"], _now()],
            "stopped": None,
            "best": done.best if done else None,
            "settings": describe(settings),
            "versions": versions(),
        }
        History(run.folder).truncate(done.history_bytes if done else 0)
        record = cls(run.folder, facts, settings)
        if done:
            record._standing = Standing(done.best, done.stale)
            record._add_line(done.line)
        return record

    @property
    def stopped(self) -> str | None:
        """Why the run ends after its newest round although rounds may be left; None if it does not."""
        reason: str | None = self._facts["stopped"]
        return reason

    @property
    def releases(self) -> list[float]:
        """With differential privacy: the noise multiplier of each model that may have been sent."""
        releases: list[float] = self._facts["releases"]
        return releases

    @property
    def news(self) -> RoundNews:
        """What the messages of the next round report about the run."""
        result = "" if self._line is None else Result.from_line(self._line).to_text()
        return RoundNews(self.folder.name, self._settings.num_rounds, result)

    def note_nodes(
        self, membership: Membership, description: Mapping[str, Any], model_bytes: int, schema: str = ""
    ) -> None:
        """Write the membership before round 1, so that it is the same if round 1 has to be repeated.

        Args:
            membership: the nodes and their partitions.
            description: what all nodes agree on.
            model_bytes: the size of the model's arrays.
            schema: what the sites agreed on, in JSON; empty if they need not.
        """
        agreed = {"description": dict(description), "schema": json.loads(schema) if schema else None}
        self._facts |= {**asdict(membership), **agreed, "model_bytes": model_bytes}
        self._write_facts()

    def note_release(self, noise_multiplier: float) -> None:
        """Record that a model with this noise is about to be sent; from now on, it counts towards epsilon."""
        self.releases.append(noise_multiplier)
        self._write_facts()

    def stop(self, reason: str) -> None:
        """Note that the run ends after its newest round, which was written before that was known."""
        self._history.amend({"stopped": reason})
        self._facts["stopped"] = reason
        self._write_facts()

    def keep(self, report: RoundReport, model: ArrayRecord, state: State) -> RoundReport:
        """Write a round to the disk: first its checkpoint, then its line in the history.

        Args:
            report: the round.
            model: the global arrays after the round.
            state: the strategy's state, which the next round needs.

        Returns:
            The report, including the time that the checkpoint took, and whether the run ends with it.
        """
        started = time.monotonic()
        self._standing = self._standing.after(report, self._settings.best_metric)
        reason = stopping.find_reason(report, self._standing, self._settings)
        report = replace(report, stopped=reason or report.stopped)
        best = self._standing.best
        facts = Facts(
            run_id=self.folder.name,
            round=report.round,
            settings=describe_model(self._settings),
            partitions=report.membership.partitions,
            nodes=report.membership.nodes,
            line=report.to_line(),
            history_bytes=self._history.size,
            best=best,
            stale=self._standing.stale,
        )
        folder = self.folder / checkpoint.FOLDER
        # The checkpoint contains the line as well, so a crash between the two writes does not lose the round.
        checkpoint.save(Checkpoint(facts, model, state), folder)
        rounds = checkpoint.list_rounds(folder)
        best_round = best["round"] if best else None
        checkpoint.remove_others(
            folder, checkpoint.choose_kept(rounds, best_round, self._settings.keep_checkpoints)
        )
        written_s = round(time.monotonic() - started, 4)
        total_s = round(report.seconds.total + written_s, 4)
        report = replace(report, seconds=replace(report.seconds, checkpoint=written_s, total=total_s))
        self._add_line(report.to_line())
        return report

    def finish(self, model: Mapping[str, Array]) -> Outcome:
        """Write the final and the best model, for numpy and for MXNet, and mark the run as finished."""
        path = model_files.save(self.folder, "model", model)
        digest = arrays.sha256(model)
        self._facts["model_sha256"] = digest
        best = model_files.find_best(self.folder, self._standing.best, self._facts["rounds"], model)
        if best is not None:
            model_files.save(self.folder, "best", best)
            self._facts["best_sha256"] = arrays.sha256(best)
        self.end(Outcome("finished"))
        return Outcome(
            "finished",
            model=path,
            model_sha256=digest,
            is_evaluated=self._history.is_evaluated,
            stopped=self.stopped,
            best=self._standing.best,
        )

    def end(self, outcome: Outcome) -> None:
        """Record how the run ended."""
        self._facts |= {"status": outcome.status, "finished": _now()}
        if outcome.status == "failed":
            self._facts |= {"reason": outcome.reason, "exit_code": outcome.exit_code}
        self._write_facts()

    def _add_line(self, line: Mapping[str, Any]) -> None:
        self._history.append(line)
        self._line = line
        self._facts |= {
            "rounds": line["round"],
            "stopped": line.get("stopped"),
            "best": self._standing.best,
        }
        self._write_facts()

    def _write_facts(self) -> None:
        with atomic_write(self.folder / "run.json") as file:
            file.write((json.dumps(self._facts, indent=2) + "\n").encode())


def _describe_for_people(settings: ServerSettings) -> dict[str, Any]:
    """Return what a user wrote about a run, which a resumed run may change."""
    return {"name": settings.run_name, "notes": settings.run_notes, "tags": list(settings.run_tags)}


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
