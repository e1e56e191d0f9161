"""One run from the first hello to the final model, on any Flower grid."""

import contextlib
from dataclasses import dataclass

from flwr.serverapp import Grid

from fedmx.errors import DataError, StopSignal, TrainingFailedError
from fedmx.fields import describe
from fedmx.settings import ServerSettings
from server import strategies
from server.agreement import Agreement, agree
from server.collect import Collector
from server.engine import Engine, adapt
from server.memory import open_store
from server.nodes import Nodes
from server.record import removal, resume
from server.record.resume import Start
from server.record.run import RunRecord
from server.report import Opening, Outcome, RunFacts
from server.reporting.reporter import Reporter
from server.rounds import RoundLoop
from server.strategies import Plan


def federate(
    grid: Grid | Engine, settings: ServerSettings, start: Start, reporter: Reporter | None = None
) -> None:
    """Train one model over the nodes of a grid, and record the run in RUNS_DIR.

    Args:
        grid: reaches the nodes.
        settings: the server's.
        start: a new run, or the one to resume.
        reporter: watches the run.

    Raises:
        FederationError: the run cannot begin or continue; `run.json` then has the reason.
    """
    plan = strategies.build(settings)
    reporter = reporter or Reporter()
    if start.before is None:
        record = RunRecord.begin(start.run_id, settings, start.initial)
    else:
        record = RunRecord.resume(start.before, settings, start.done)
    try:
        engine = adapt(grid, settings.lease_grace, open_store(settings))
        outcome = _Run(engine, settings, plan, record, reporter).train(start)
    except BaseException as error:
        outcome = _describe_end(error)
        # A disk that cannot take this either is what `error` reports already.
        with contextlib.suppress(DataError):
            record.end(outcome)
        reporter.on_end(outcome)
        raise
    reporter.on_end(outcome)


@dataclass(frozen=True)
class _Run:
    """One run, with all that it needs."""

    engine: Engine
    settings: ServerSettings
    plan: Plan
    record: RunRecord
    reporter: Reporter

    def train(self, start: Start) -> Outcome:
        """Train what is left of the run."""
        nodes = Nodes(self.engine, self.settings)
        nodes.restore(start.membership)
        self.reporter.on_open(self._describe_opening(start, nodes))
        agreement = self._agree(nodes, start)
        model = agreement.model
        # Rounds that were lost count too: their models may have reached nodes.
        if self.plan.privacy is not None:
            self.plan.privacy.count(self.record.releases)
        self.record.note_nodes(nodes.membership, agreement.description, model.layout.size, model.schema)
        first = start.done.round + 1 if start.done else 1
        self.reporter.on_run(self._describe(start, first, len(nodes.participants())))
        if first == 1:
            self._remove_old(start)
        collector = Collector(self.engine, nodes, self.plan, self.settings, model)
        loop = RoundLoop(collector, nodes, self.plan, self.settings, self.reporter)
        try:
            loop.run(model, self.record, first)
            return self.record.finish(model.arrays)
        # Exit code 2 is for what is wrong before there is anything to lose.
        except DataError as error:
            raise TrainingFailedError(
                f"{error}; the run resumes after its newest checkpoint when the server is started again"
            ) from None

    def _remove_old(self, start: Start) -> None:
        """Remove earlier runs once nodes have joined: a run that never starts must not displace them."""
        initial = None if start.initial is None else start.initial.path
        removal.remove_old(self.settings.runs_dir, self.settings.keep_runs, start.run_id, initial)

    def _agree(self, nodes: Nodes, start: Start) -> Agreement:
        if start.checkpoint is None:
            agreement = agree(self.engine, nodes, self.settings, start.initial, start.schema)
        else:
            self.plan.restore(start.checkpoint.state)
            agreement = agree(self.engine, nodes, self.settings, start.checkpoint.arrays, start.schema)
        resume.check_nodes(start, agreement.description, self.settings)
        return agreement

    def _describe_opening(self, start: Start, nodes: Nodes) -> Opening:
        return Opening(
            run_id=start.run_id,
            folder=self.record.folder,
            is_resumed=start.before is not None,
            settings=describe(self.settings),
            nodes=nodes,
        )

    def _describe(self, start: Start, first: int, nodes: int) -> RunFacts:
        return RunFacts(
            run_id=start.run_id,
            folder=self.record.folder,
            first_round=first,
            nodes=nodes,
            is_resumed=start.before is not None,
            settings=describe(self.settings),
        )


def _describe_end(error: BaseException) -> Outcome:
    # Flower's processes turn a signal into SystemExit.
    if isinstance(error, StopSignal | SystemExit):
        return Outcome("interrupted")
    return Outcome("failed", reason=str(error), exit_code=getattr(error, "exit_code", 1))
