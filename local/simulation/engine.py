"""`python -m local.simulation.engine`: the server of a simulation, which `make simulate` starts.

Flower's `run_simulation` is in a thread of its own. It lends its grid to the main thread, which trains on it
as on any other, and which signals reach.
"""

import contextlib
import gc
import logging
import queue
import threading
from pathlib import Path

import ray
from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

# Deprecated in favour of `flwr run`, which needs a SuperLink for it, and returns before the run has ended.
from flwr.simulation import run_simulation

from fedmx import log
from fedmx.array_store import ArrayStore
from fedmx.deployment_settings import SimulationSettings
from fedmx.errors import FederationError, TrainingFailedError
from fedmx.link.flower import break_record_cycles
from fedmx.log import logger
from fedmx.program import run_program
from fedmx.readiness import Ready, report_ready
from fedmx.settings import ClientSettings, ServerSettings, environment, load
from fedmx.values import Address
from local.simulation.probe import check_nodes
from local.simulation.ray_cluster import Setup, connect, count_workers
from local.simulation.virtual_nodes import SimulationEngine
from local.simulation.worker import WorkerApp
from server.federation import federate
from server.memory import open_store
from server.problems import find_problems
from server.record import resume
from server.record.runs import RunsFolder
from server.reporting.reporters import build

_TICK_S = 0.05
# Ray replaces a worker that was killed, and executes its message once more, which has the same reply.
_RESTARTS = {"max_restarts": -1, "max_task_retries": 1}
# Nodes do not dial it.
_NO_ADDRESS = Address("127.0.0.1", 1)


def main() -> None:
    """Simulate the run that the settings ask for."""
    settings = load(ServerSettings, find_problems)
    log.configure(settings.log_level, settings.log_format)
    environ = environment()
    setup = Setup(load(SimulationSettings), load(ClientSettings), environ, Path(environ["RAY_TMPDIR"]))
    # It would announce that `run_simulation` is deprecated, and log what fedmx logs too.
    logging.getLogger("flwr").setLevel(logging.CRITICAL)
    break_record_cycles()
    gc.freeze()
    with RunsFolder(settings.runs_dir), build(settings) as reporters:
        start = resume.choose_run(settings)
        with Simulation(setup, open_store(settings)) as engine:
            report_ready(Ready(_NO_ADDRESS, settings.runs_dir / start.run_id, reporters.url or ""))
            check_nodes(engine, settings, count_workers(setup.simulation))
            federate(engine, settings, start, reporters)


class Simulation:
    """Flower's simulation engine in its thread, as a context that has what a run works on.

    Args:
        setup: what workers need.
        store: receives the arrays of replies.
    """

    def __init__(self, setup: Setup, store: ArrayStore) -> None:
        self._setup = setup
        self._store = store
        self._grids: queue.SimpleQueue[Grid] = queue.SimpleQueue()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="simulation", daemon=True)

    def __enter__(self) -> SimulationEngine:
        self._thread.start()
        grid: Grid | None = None
        # The engine lends its grid before it registers the nodes.
        while grid is None or len(list(grid.get_node_ids())) < self._setup.simulation.nodes:
            with contextlib.suppress(queue.Empty):
                grid = self._grids.get(timeout=_TICK_S)
            self.check()
        return SimulationEngine(grid, self.check, self._store)

    def __exit__(self, kind: object, *_: object) -> None:
        # Flower asks each worker to end, and Ray reports an error for each. After an error or a signal,
        # the end of the process ends Ray too.
        if kind is None:
            ray.shutdown()

    def check(self) -> None:
        """Check that the engine works.

        Raises:
            FederationError: it has failed.
        """
        if isinstance(self._failure, FederationError):
            raise self._failure
        if self._failure is not None:
            raise TrainingFailedError(
                f"Flower's simulation engine failed: {type(self._failure).__name__}: {self._failure}"
            )

    def _run(self) -> None:
        simulation = self._setup.simulation
        try:
            connect(self._setup)
            run_simulation(
                self._make_lender(),
                WorkerApp(),
                simulation.nodes,
                backend_config={
                    "client_resources": {
                        "num_cpus": simulation.simulation_cpus,
                        "num_gpus": simulation.simulation_gpus,
                        **_RESTARTS,
                    }
                },
            )
        except BaseException as error:  # noqa: BLE001 - the main thread raises it
            logger.debug("the simulation engine failed", exc_info=True)
            self._failure = error

    def _make_lender(self) -> ServerApp:
        """Return a ServerApp that lends its grid to the main thread for good."""
        lender = ServerApp()

        @lender.main()
        def lend(grid: Grid, _: Context) -> None:
            self._grids.put(grid)
            threading.Event().wait()

        return lender


if __name__ == "__main__":
    run_program(main)
