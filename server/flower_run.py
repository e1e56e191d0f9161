"""One run on an engine of Flower's: settings come from the run config, then from the environment."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from flwr.serverapp import Grid

from fedmx import log, run_state
from fedmx.fields import list_names
from fedmx.names import suggest
from fedmx.settings import ServerSettings, environment, load
from server.federation import federate
from server.problems import find_problems
from server.record import resume
from server.record.runs import RunsFolder
from server.reporting.reporters import build


def run(grid: Grid, run_config: Mapping[str, object]) -> None:
    """Train, and record the run in RUNS_DIR.

    Raises:
        FederationError: the run cannot begin or continue.
    """
    given = {key.upper().replace("-", "_"): str(value) for key, value in run_config.items()}
    # The run config always has num-rounds, and the shorter name of the environment would win over it.
    variables = {**environment(), "ROUNDS": "", **given}
    unknown = list(_find_unknown(run_config))
    settings = load(ServerSettings, find_problems, lambda _: unknown, environ=variables)
    log.configure(settings.log_level, settings.log_format)
    with RunsFolder(settings.runs_dir), build(settings) as reporters, _noting_stop(settings.runs_dir):
        federate(grid, settings, resume.choose_run(settings), reporters)


@contextmanager
def _noting_stop(runs_dir: Path) -> Iterator[None]:
    """Record that the run was stopped if its engine is still there: then a user asked the engine for it."""
    engine = os.getppid()
    try:
        yield
    # What Flower's process raises when it has handled a signal.
    except SystemExit:
        if os.getppid() == engine:
            run_state.note_stopped(runs_dir)
        raise


def _find_unknown(run_config: Mapping[str, object]) -> Iterator[str]:
    """Yield a line for each name that is not a setting of the server."""
    known = list_names(ServerSettings)
    for name in run_config:
        if name.upper().replace("-", "_") not in known:
            similar = suggest(name.replace("-", "_"), known)
            yield f"{name} in the run config: not a setting of the server{similar}"
