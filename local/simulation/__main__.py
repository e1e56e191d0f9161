"""`python -m local.simulation`: the program behind `make simulate`. Its exit code is the simulation's."""

import os
import tempfile

from fedmx.command_line import Program, parse
from fedmx.deployment_settings import SimulationSettings
from fedmx.hyperparameters import Hyperparameters
from fedmx.program import run_program
from fedmx.run_settings import RunSettings
from fedmx.settings import ClientSettings, CommonSettings, ServerSettings, environment
from local.display import PipedConsole, print_line
from local.launch import federate
from local.plan import ROOT, check
from local.room import FIRST_FOLDER, find_room
from local.simulation.plan import make_plan

_PROGRAM = Program(
    "python -m local.simulation",
    "Simulate many nodes on this machine or a Ray cluster (`make simulate`). Settings come from the"
    " environment; a blank one has its default.",
    {
        "settings of make simulate": SimulationSettings,
        "settings of the server": ServerSettings,
        "settings of a run": RunSettings,
        "hyperparameters": Hyperparameters,
        "settings of the client": ClientSettings,
        "settings of server and client": CommonSettings,
    },
)


def main() -> None:
    """Run the simulation that the environment describes, then show its rounds and the path of the model."""
    parse(_PROGRAM)
    console = PipedConsole()
    environ = environment()
    check(make_plan(environ))
    # Not in TMPDIR: the path of a socket below it has at most 107 characters.
    with (
        find_room(environ, ROOT) as room,
        tempfile.TemporaryDirectory(
            prefix=f"fedmx-{os.getpid()}-", dir="/tmp", ignore_cleanup_errors=True
        ) as folder,
    ):
        if (runs := room.get("RUNS_DIR", FIRST_FOLDER)) != FIRST_FOLDER:
            print_line(console, f"{FIRST_FOLDER} is in use by another run; this run is written to {runs}")
        federate(console, make_plan({**environ, **room, "RAY_TMPDIR": folder}), room)


if __name__ == "__main__":
    run_program(main)
