"""What has changed between an unfinished run and the settings of the server that is to resume it."""

from collections.abc import Iterator, Mapping

from fedmx.errors import SettingsError
from fedmx.fields import describe_model
from fedmx.log import warn
from fedmx.settings import ServerSettings
from server.initial_model import InitialModel
from server.record.checkpoint import Facts, Values
from server.record.runs import NewestRun
from server.record.versions import versions


def check_settings(
    run: NewestRun, done: Facts, settings: ServerSettings, initial: InitialModel | None
) -> None:
    """Check that an unfinished run can be resumed with these settings.

    Raises:
        SettingsError: it cannot.
    """
    label = f"run {done.run_id} is unfinished, after round {done.round}"
    if impossible := list(_list_impossible(done, settings)):
        raise SettingsError(f"{label}: {'; '.join(impossible)}, or RESUME=never to start a new run")
    differences = [
        *list_changes(done.settings, settings, run.facts["initial_model"], initial),
        *_list_partitions(done.partitions, settings),
        *_list_numpy(run.facts["versions"]),
    ]
    if not differences:
        return
    changed = "; ".join(differences)
    if settings.resume != "force":
        raise SettingsError(
            f"{label}, and has other settings: {changed}; expected the same settings, RESUME=force to resume"
            " with these, or RESUME=never to start a new run"
        )
    warn("resuming with other settings, as RESUME=force allows", changed=changed)


def list_changes(
    before: Values, settings: ServerSettings, before_initial: Values | None, initial: InitialModel | None
) -> list[str]:
    """List what has changed of the settings that shape the model, and of the model of round 1.

    Args:
        before: the run's settings.
        settings: the server's.
        before_initial: what the run's record has of its INITIAL_MODEL, or None.
        initial: INITIAL_MODEL, or None.
    """
    return [*_list_settings(before, settings), *_list_initial(before_initial, initial)]


def _list_settings(before: Values, settings: ServerSettings) -> Iterator[str]:
    """List the settings that shape the model and have changed."""
    for name, value in describe_model(settings).items():
        if before.get(name) != value:
            yield f"{name}={before.get(name)} there, {value} here"


def _list_initial(before: Values | None, initial: InitialModel | None) -> Iterator[str]:
    """List the model that round 1 started from if it has changed."""
    there = before["sha256"] if before else "not set"
    here = initial.sha256 if initial else "not set"
    if there != here:
        yield f"INITIAL_MODEL (SHA-256 of its arrays): {there} there, {here} here"


def _list_partitions(partitions: int, settings: ServerSettings) -> Iterator[str]:
    """List the number of partitions if it has changed."""
    if settings.partition.is_shared and settings.num_partitions not in (0, partitions):
        yield f"NUM_PARTITIONS={partitions} there, {settings.num_partitions} here"


def _list_numpy(before: Mapping[str, str]) -> Iterator[str]:
    """List numpy's version if its major number has changed: numpy 2 computes other bits than numpy 1."""
    there = str(before.get("numpy"))
    here = versions()["numpy"]
    if there.partition(".")[0] != here.partition(".")[0]:
        yield f"numpy {there} there, {here} here"


def _list_impossible(done: Facts, settings: ServerSettings) -> Iterator[str]:
    """List what no resumed run can do: undo rounds, or make rounds private that were not."""
    if settings.num_rounds < done.round:
        yield f"NUM_ROUNDS={settings.num_rounds}: expected at least {done.round}"
    if settings.dp_mode != "off" and done.settings["DP_MODE"] == "off":
        yield f"DP_MODE={settings.dp_mode}: its rounds so far were without; expected off"
