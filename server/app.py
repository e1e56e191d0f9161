"""The Flower ServerApp: one run from the first hello to the final model, on any Flower grid."""

import contextlib
import hashlib
from collections.abc import Mapping

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from fedmx import log
from fedmx.errors import DataError, StopSignal, TrainingFailedError
from fedmx.log import event
from fedmx.settings import ServerSettings, environment, load
from server import strategies
from server.agreement import open_run
from server.nodes import Nodes
from server.record import resume
from server.record.history import History
from server.record.resume import Start
from server.record.runs import RunsFolder
from server.rounds import RoundLoop
from server.strategies import Plan


def federate(grid: Grid, settings: ServerSettings, start: Start) -> None:
    """Train one model over the nodes of a grid, and keep it in RUNS_DIR.

    Args:
        grid: reaches the nodes.
        settings: what the server was told.
        start: where the run is taken up.

    Raises:
        FederationError: the run cannot begin or go on; `run.json` then says why.
    """
    plan = strategies.build(settings)
    if start.before is None:
        record = History.begin(settings.runs_dir, start.run_id, settings)
    else:
        record = History.resume(start.before, settings, start.done)
    try:
        digest = _train(grid, plan, settings, start, record)
    except BaseException as error:
        with contextlib.suppress(DataError):  # a full disk is what `error` tells already
            if isinstance(error, StopSignal):
                record.end("interrupted")
            else:
                record.end("failed", reason=str(error), exit_code=getattr(error, "exit_code", 1))
        raise
    event("run finished", model=record.folder / "model.npz", model_sha256=digest)


def _train(grid: Grid, plan: Plan, settings: ServerSettings, start: Start, record: History) -> str:
    """Train what is left of a run; give the digest of its model."""
    nodes, done = Nodes(grid, settings), start.checkpoint
    nodes.restore(*start.held)
    next_round = 1
    if done is None:
        opened = open_run(grid, nodes, settings)
    else:
        next_round = done.facts.round + 1
        plan.restore(done.state)
        opened = open_run(grid, nodes, settings, done.arrays)
    resume.check_nodes(start, opened.description, settings)
    if plan.privacy is not None:
        plan.privacy.count(record.releases)  # of rounds that were lost, too: they may have reached nodes
    record.note_nodes(nodes.holders(), nodes.number, opened.description, opened.model.layout.size)
    words = "run started" if start.before is None else "run resumed"
    event(words, run=start.run_id, round=next_round, nodes=len(nodes.participants()), folder=record.folder)
    try:
        RoundLoop(grid, nodes, plan, settings).run(opened.model, record, next_round)
        return record.finish(opened.model.arrays)
    except DataError as error:  # exit code 2 is for what is wrong before there is anything to lose
        raise TrainingFailedError(
            f"{error}; the run goes on after its newest checkpoint when the server is started again"
        ) from None


def run_number(run_id: str) -> int:
    """Give the number by which Flower knows a run, from its name."""
    return int.from_bytes(hashlib.sha256(run_id.encode()).digest()[:7])


def build_app(settings: ServerSettings, start: Start) -> ServerApp:
    """Make the app of one run on the direct link."""
    made = ServerApp()

    @made.main()
    def main(grid: Grid, _context: Context) -> None:
        federate(grid, settings, start)

    return made


app = ServerApp()


@app.main()
def _main_on_flowers_engine(grid: Grid, context: Context) -> None:
    """Run on an engine of Flower's: settings come from the run config, then from the environment."""
    settings = load(ServerSettings, strategies.find_problems, environ=_with_run_config(context.run_config))
    log.configure(settings.log_level, settings.log_format)
    with RunsFolder(settings.runs_dir):
        federate(grid, settings, resume.choose_run(settings))


def _with_run_config(run_config: Mapping[str, object]) -> dict[str, str]:
    given = {key.upper().replace("-", "_"): str(value) for key, value in run_config.items()}
    # The run config always has num-rounds, and the shorter name of the environment would win over it.
    return {**environment(), "ROUNDS": "", **given}
