"""The Flower ServerApp: one run from the first hello to the final model, on any Flower grid."""

import contextlib
import hashlib
from collections.abc import Mapping

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from fedmx import log
from fedmx.errors import DataError, StopSignal
from fedmx.log import event
from fedmx.settings import ServerSettings, environment, load
from server import history, strategies
from server.history import History
from server.opening import Nodes, open_run
from server.rounds import RoundLoop


def federate(grid: Grid, settings: ServerSettings, run_id: str) -> None:
    """Train one model over the nodes of a grid, and keep it in RUNS_DIR.

    Args:
        grid: reaches the nodes.
        settings: what the server was told.
        run_id: the run's name, and its folder's.

    Raises:
        FederationError: the run cannot begin or go on; `run.json` then says why.
    """
    plan = strategies.build(settings)
    nodes = Nodes(grid, settings)
    record = History(settings.runs_dir, run_id, settings)
    try:
        model = open_run(grid, nodes, settings)
        event("run begins", run=run_id, nodes=len(nodes.participants()), folder=record.folder)
        RoundLoop(grid, nodes, plan, settings).run(model, record)
        digest = record.finish(model.arrays)
    except BaseException as error:
        with contextlib.suppress(DataError):  # a full disk is what `error` tells already
            if isinstance(error, StopSignal):
                record.end("interrupted")
            else:
                record.end("failed", reason=str(error), exit_code=getattr(error, "exit_code", 1))
        raise
    event("run finished", model=record.folder / "model.npz", model_sha256=digest)


def run_number(run_id: str) -> int:
    """Give the number by which Flower knows a run, from its name."""
    return int.from_bytes(hashlib.sha256(run_id.encode()).digest()[:7])


def build_app(settings: ServerSettings, run_id: str) -> ServerApp:
    """Make the app of one run on the direct link."""
    made = ServerApp()

    @made.main()
    def main(grid: Grid, _context: Context) -> None:
        federate(grid, settings, run_id)

    return made


app = ServerApp()


@app.main()
def _main_on_flowers_engine(grid: Grid, context: Context) -> None:
    """Run on an engine of Flower's: settings come from the run config, then from the environment."""
    settings = load(ServerSettings, strategies.find_problems, environ=_with_run_config(context.run_config))
    log.configure(settings.log_level, settings.log_format)
    with history.lock(settings.runs_dir):
        federate(grid, settings, history.new_run_id())


def _with_run_config(run_config: Mapping[str, object]) -> dict[str, str]:
    given = {key.upper().replace("-", "_"): str(value) for key, value in run_config.items()}
    return {**environment(), **given}
