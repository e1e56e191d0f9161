"""What a server that starts finds on disk: a run to resume, one to announce the end of, or neither."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flwr.app import ConfigRecord

from fedmx.errors import DataError, SettingsError
from fedmx.fields import describe, describe_model
from fedmx.log import event, warn
from fedmx.settings import ServerSettings
from server.compatibility import find_difference
from server.leases import Membership
from server.record import checkpoint
from server.record.checkpoint import Checkpoint, Facts
from server.record.runs import NEW_RUN, NewestRun, RunsFolder, new_run_id, read_newest
from server.record.versions import versions

_RESTART_S = 60.0  # in which its supervisor has started a server again


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
    def description(self) -> ConfigRecord | None:
        """What its nodes agreed on, if they did."""
        found = None if self.before is None else self.before.facts.get("description")
        return ConfigRecord(found) if found else None

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
    """Give the newest run if it is finished and its server ended before all nodes were told so.

    That is what a supervisor restarts within seconds. Whoever starts a server later wants another run.
    """
    run = _find_readable(runs.path)
    if run is None or run.status != "finished" or run.folder.name != runs.unannounced:
        return None
    is_restart = settings.resume != "never" and run.settings == describe(settings) and run.age_s < _RESTART_S
    return run if is_restart else None


def choose_run(settings: ServerSettings) -> Start:
    """Choose the newest run if it is unfinished, as RESUME says, and log that; else a new one.

    A run that was stopped or killed in its first round has nothing to lose: it begins again under its name,
    where the settings are the same. One that failed then is left as it is.

    Raises:
        SettingsError: the unfinished run has other settings.
        DataError: its record, or all of its checkpoints, cannot be read.
    """
    new = Start(new_run_id())
    if settings.resume == "never":
        return new
    newest = read_newest(settings.runs_dir)
    if newest is None or newest.status == "finished":
        return new
    found = _load_newest(newest)
    if found is None:
        is_same = newest.status != "failed" and not list(_differences(newest.settings, settings))
        return _resume(Start(newest.folder.name, newest)) if is_same else new
    words = f"run {found.facts.run_id} is unfinished, after round {found.facts.round}"
    if lost := list(_find_losses(found.facts, settings)):
        raise SettingsError(f"{words}: {'; '.join(lost)}, or RESUME=never to start a new run")
    differences = [
        *_differences(found.facts.settings, settings),
        *_difference_of_partitions(found.facts.partitions, settings),
    ]
    if differences and settings.resume != "force":
        raise SettingsError(
            f"{words}, and has other settings: {'; '.join(differences)}; expected the same settings,"
            " RESUME=force to resume with these, or RESUME=never to start a new run"
        )
    if differences:
        warn("resuming with other settings, as RESUME=force says", changed="; ".join(differences))
    return _resume(Start(newest.folder.name, newest, found))


def _resume(start: Start) -> Start:
    """Log which run is resumed and what its nodes have to have, before any of them is there."""
    before = {} if start.before is None else start.before.facts["versions"]
    others = [
        f"{name} {before.get(name)} there, {here} here"
        for name, here in versions().items()
        if before.get(name) != here
    ]
    if others:
        warn("resuming a run of other versions, the model may differ", changed="; ".join(others))
    event(
        "resuming a run",
        run=start.run_id,
        after_round=start.done.round if start.done else 0,
        task=start.description["task"] if start.description else None,
        nodes=sorted(start.membership.nodes) or None,
        hint=NEW_RUN,
    )
    return start


def check_nodes(start: Start, description: Mapping[str, Any], settings: ServerSettings) -> None:
    """Check that nodes agree with those that a resumed run had; on the direct link others never join.

    Raises:
        SettingsError: they do not.
    """
    if start.description is None or settings.resume == "force":
        return
    is_shared = settings.partition.is_shared
    difference = find_difference(ConfigRecord({**description}), start.description, is_shared=is_shared)
    if difference:
        raise SettingsError(f"the nodes differ from {start.label}: {difference}; {NEW_RUN}")


def _find_readable(runs_dir: Path) -> NewestRun | None:
    try:
        return read_newest(runs_dir)
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


def _find_losses(done: Facts, settings: ServerSettings) -> Iterator[str]:
    """Name what no run can do that goes on: undo rounds, or hide what they have shown."""
    if settings.num_rounds < done.round:
        yield f"NUM_ROUNDS={settings.num_rounds}: expected at least {done.round}"
    if settings.dp_mode != "off" and done.settings["DP_MODE"] == "off":
        yield f"DP_MODE={settings.dp_mode}: its rounds so far were without; expected off"


def _load_newest(run: NewestRun) -> Checkpoint | None:
    """Load the newest checkpoint that is whole; None before the end of round 1."""
    folder = run.folder / checkpoint.FOLDER
    rounds = checkpoint.list_rounds(folder)
    reasons = []
    for number in rounds:
        path = checkpoint.path_of(folder, number)
        try:
            return checkpoint.load(path)
        except ValueError as error:
            warn("left out a checkpoint", file=path, reason=error)
            reasons.append(f"{path.name}: {error}")
    if done := run.facts["rounds"]:
        raise DataError(
            f"{folder}: none of its {len(rounds)} checkpoints can be read, and {done} rounds are done"
            f"{''.join(f' ({reason})' for reason in reasons[:1])};"
            " expected one that can, or RESUME=never to start a new run"
        )
    return None
