"""What a server that starts finds on disk: a run to carry on, one that has just failed, or neither."""

import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedmx.errors import DataError, FederationError, SettingsError
from fedmx.files import named_errors
from fedmx.log import warn
from fedmx.settings import ServerSettings, describe, describe_model
from server import checkpoint, history
from server.checkpoint import Checkpoint, Facts
from server.history import NewestRun, RunsFolder


class RepeatedFailureError(FederationError):
    """The run of these settings has just failed; a server that an engine restarts ends as it did."""

    def __init__(self, run: NewestRun, left_s: float) -> None:
        self.exit_code = int(run.facts["exit_code"])
        self._file = run.folder / "run.json"
        super().__init__(
            f"run {run.folder.name} failed with these settings: {run.facts['reason']};"
            f" another can begin in {left_s:.0f} s, or with RETRY_AFTER=0"
        )

    def note(self) -> None:
        """Note that the failure was repeated just now: the next restart comes soon after this one."""
        with named_errors(self._file):
            os.utime(self._file)


@dataclass(frozen=True)
class Start:
    """Where a run is taken up.

    Attributes:
        run_id: its name, and its folder's.
        before: what is on disk of it already; None where it is new.
        checkpoint: the newest whole one; None before the end of round 1.
    """

    run_id: str
    before: NewestRun | None = None
    checkpoint: Checkpoint | None = None

    @property
    def done(self) -> Facts | None:
        """What is known of the last round that need not be trained again."""
        return None if self.checkpoint is None else self.checkpoint.facts

    @property
    def held(self) -> tuple[Mapping[str, int | None], int]:
        """Who held which partition when it was last trained, and the number of partitions."""
        if self.done is not None:
            return self.done.nodes, self.done.partitions
        facts: Mapping[str, Any] = (
            {"nodes": {}, "partitions": 0} if self.before is None else self.before.facts
        )
        return facts["nodes"], facts["partitions"]


def find_recent_failure(settings: ServerSettings) -> RepeatedFailureError | None:
    """Tell whether the newest run failed within RETRY_AFTER, or failed again, with the same settings."""
    run = _find_readable(settings.runs_dir)
    if run is None or run.status != "failed" or run.settings != describe(settings):
        return None
    age_s = time.time() - (run.folder / "run.json").stat().st_mtime
    left_s = settings.retry_after - age_s
    return RepeatedFailureError(run, left_s) if left_s > 0 else None


def find_untold(runs: RunsFolder) -> NewestRun | None:
    """Give the newest run if it is finished and its server ended before all nodes were told so."""
    run = _find_readable(runs.path)
    if run is None or run.status != "finished" or run.folder.name != runs.untold:
        return None
    return run


def choose_run(settings: ServerSettings) -> Start:
    """Take up the newest run if it is unfinished, as RESUME says; else a new one.

    A run that was stopped or killed in its first round has nothing to lose: it begins again under its name,
    where the settings are the same. One that failed then is left as it is.

    Raises:
        SettingsError: the unfinished run has other settings.
        DataError: its record, or all of its checkpoints, cannot be read.
    """
    new = Start(history.new_run_id())
    if settings.resume == "never":
        return new
    newest = history.read_newest(settings.runs_dir)
    if newest is None or newest.status == "finished":
        return new
    found = _load_newest(newest.folder / checkpoint.FOLDER)
    if found is None:
        is_same = newest.status != "failed" and not list(_differences(newest.settings, settings))
        return Start(newest.folder.name, newest) if is_same else new
    differences = [
        *_differences(found.facts.settings, settings),
        *_difference_of_partitions(found.facts.partitions, settings),
    ]
    if differences:
        words = (
            f"run {found.facts.run_id} is unfinished, after round {found.facts.round}, and has other settings"
        )
        if settings.resume != "force":
            raise SettingsError(
                f"{words}: {'; '.join(differences)}; expected the same to go on with it, RESUME=force to go"
                " on with these, or RESUME=never to start anew"
            )
        warn(words, differences="; ".join(differences))
    return Start(newest.folder.name, newest, found)


def _find_readable(runs_dir: Path) -> NewestRun | None:
    try:
        return history.read_newest(runs_dir)
    except DataError:
        return None  # `choose_run` says so, unless nobody asks for the run


def _differences(before: checkpoint.Values, settings: ServerSettings) -> Iterator[str]:
    """Name the settings that shape the model and are other ones now."""
    for name, value in describe_model(settings).items():
        if before.get(name) != value:
            yield f"{name}={before.get(name)} there, {value} here"


def _difference_of_partitions(partitions: int, settings: ServerSettings) -> Iterator[str]:
    if settings.partition.is_shared and settings.num_partitions not in (0, partitions):
        yield f"NUM_PARTITIONS={partitions} there, {settings.num_partitions} here"


def _load_newest(folder: Path) -> Checkpoint | None:
    """Load the newest checkpoint that is whole; None where there are none at all."""
    rounds = checkpoint.list_rounds(folder)
    for number in rounds:
        path = checkpoint.path_of(folder, number)
        try:
            return checkpoint.load(path)
        except ValueError as error:
            warn("left out a checkpoint", file=path, reason=error)
    if rounds:
        raise DataError(
            f"{folder}: none of its {len(rounds)} checkpoints can be read; expected one that can, or"
            " RESUME=never to start anew"
        )
    return None
