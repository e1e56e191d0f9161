"""What a server finds on disk when it starts: a run to resume, one whose end to announce, or neither."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flwr.app import ConfigRecord

from fedmx.errors import DataError, SettingsError
from fedmx.fields import describe
from fedmx.log import event, warn
from fedmx.settings import ServerSettings
from server.compatibility import find_difference
from server.initial_model import InitialModel
from server.leases import Membership
from server.record import checkpoint
from server.record.changed_settings import check_settings, list_changes
from server.record.checkpoint import Checkpoint, Facts
from server.record.runs import NEW_RUN, NewestRun, RunsFolder, new_run_id, read_newest
from server.record.versions import versions

# A supervisor restarts a server within this time.
_RESTART_S = 60.0


@dataclass(frozen=True)
class Start:
    """A run that begins, or is resumed.

    Attributes:
        run_id: its name, and its folder's.
        before: what is on disk of it; None for a new run.
        checkpoint: the newest complete one; None before the end of round 1.
        initial: INITIAL_MODEL, from which round 1 starts.
    """

    run_id: str
    before: NewestRun | None = None
    checkpoint: Checkpoint | None = None
    initial: InitialModel | None = None

    @property
    def done(self) -> Facts | None:
        """The facts of the newest round that is not trained again."""
        return None if self.checkpoint is None else self.checkpoint.facts

    @property
    def description(self) -> ConfigRecord | None:
        """What its nodes agreed on; None before they did."""
        found = None if self.before is None else self.before.facts.get("description")
        return ConfigRecord(found) if found else None

    @property
    def schema(self) -> str:
        """What its sites agreed on, in JSON; empty before they did, or if they need not."""
        found = None if self.before is None else self.before.facts.get("schema")
        return json.dumps(found) if found else ""

    @property
    def label(self) -> str:
        """The unfinished run by its name, for a message."""
        return f"run {self.run_id}, which is unfinished after round {self.done.round if self.done else 0}"

    @property
    def membership(self) -> Membership:
        """Which nodes took part when the run was last trained."""
        if self.done is not None:
            return Membership(self.done.nodes, self.done.partitions)
        if self.before is not None:
            return Membership(self.before.facts["nodes"], self.before.facts["partitions"])
        return Membership({}, 0)


def find_unannounced(runs: RunsFolder, settings: ServerSettings) -> NewestRun | None:
    """Return the newest run if it is finished and its server died before notifying all nodes.

    Only a restart announces it: the same settings, within a minute. Later, a new run is wanted.
    """
    try:
        run = read_newest(runs.path)
    except DataError:
        # `choose_run` reads it again, and raises unless RESUME=never.
        return None
    if run is None or run.status != "finished" or run.folder.name != runs.unannounced:
        return None
    is_restart = settings.resume != "never" and run.settings == describe(settings) and run.age_s < _RESTART_S
    return run if is_restart else None


def choose_run(settings: ServerSettings) -> Start:
    """Choose the newest run if it is unfinished and RESUME allows it, and log that; else a new one.

    A run that was stopped or killed in its first round has nothing to lose: it begins again under its name
    if the settings are the same. One that failed in its first round is left as it is, and so is one that was
    stopped by `flwr stop`, unless RESUME is `force`.

    Raises:
        SettingsError: the unfinished run has other settings.
        DataError: its record, or each of its checkpoints, cannot be read.
    """
    newest = None if settings.resume == "never" else read_newest(settings.runs_dir)
    if newest is None or newest.status == "finished":
        return _start_new(settings)
    if newest.is_stopped and settings.resume != "force":
        event(
            "starting a new run",
            stopped=newest.folder.name,
            hint=f"RESUME=force resumes {newest.folder.name}",
        )
        return _start_new(settings)
    found = _load_newest(newest)
    initial = _find_initial_again(newest, settings)
    if found is None:
        changed = list_changes(newest.settings, settings, newest.facts["initial_model"], initial)
        if changed or newest.status == "failed":
            return _start_new(settings)
        return _log_resume(Start(newest.folder.name, newest, initial=initial))
    check_settings(newest, found.facts, settings, initial)
    return _log_resume(Start(newest.folder.name, newest, found))


def _start_new(settings: ServerSettings) -> Start:
    given = settings.initial_model
    initial = None if given is None else InitialModel.find(given, settings.max_model_bytes)
    return Start(new_run_id(), initial=initial)


def _find_initial_again(run: NewestRun, settings: ServerSettings) -> InitialModel | None:
    """Return INITIAL_MODEL for the resume of a run.

    Raises:
        SettingsError: it cannot be read.
    """
    given = settings.initial_model
    if given is None:
        return None
    before = run.facts["initial_model"]
    # `runs/latest` was another run when this one began, and is this one now.
    is_itself = given.resolve() == run.folder.resolve()
    path = Path(before["path"]) if before and is_itself else None
    return InitialModel.find(given, settings.max_model_bytes, path)


def check_nodes(start: Start, description: Mapping[str, Any], settings: ServerSettings) -> None:
    """Check that the nodes are like those that a resumed run had.

    On the direct link others cannot join; Flower's engines have no such check.

    Raises:
        SettingsError: they differ.
    """
    if start.description is None or settings.resume == "force":
        return
    is_shared = settings.partition.is_shared
    difference = find_difference(ConfigRecord({**description}), start.description, is_shared=is_shared)
    if difference:
        raise SettingsError(f"the nodes differ from {start.label}: {difference}; {NEW_RUN}")


def _log_resume(start: Start) -> Start:
    """Log which run is resumed and which nodes it needs, before any of them is there."""
    before = {} if start.before is None else start.before.facts["versions"]
    others = [
        f"{name} {before.get(name)} there, {here} here"
        for name, here in versions().items()
        if before.get(name) != here
    ]
    if others:
        warn("resuming a run of other versions, the model may differ", changed="; ".join(others))
    event(
        # Without a finished round, nothing but the run's folder and nodes is taken from before.
        "resuming a run" if start.done else "starting a run from its first round",
        run=start.run_id,
        after_round=start.done.round if start.done else None,
        task=start.description["task"] if start.description else None,
        nodes=sorted(start.membership.nodes) or None,
        hint=NEW_RUN,
    )
    return start


def _load_newest(run: NewestRun) -> Checkpoint | None:
    """Load the newest checkpoint that is complete; None before the end of round 1.

    Raises:
        DataError: none of the run's checkpoints can be read.
    """
    folder = run.folder / checkpoint.FOLDER
    rounds = checkpoint.list_rounds(folder)
    problems = []
    for number in rounds:
        path = checkpoint.path_of(folder, number)
        try:
            return checkpoint.load(path)
        except ValueError as error:
            warn("left out a checkpoint", file=path, reason=error)
            problems.append(f"{path.name}: {error}")
    done = run.facts["rounds"]
    if done:
        raise DataError(
            f"{folder}: none of its {len(rounds)} checkpoints can be read, and {done} rounds are done"
            f"{''.join(f' ({problem})' for problem in problems[:1])};"
            " expected one that can be read, or RESUME=never to start a new run"
        )
    return None
