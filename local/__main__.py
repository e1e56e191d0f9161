"""`python -m local`: the program behind `make run`. Its exit code is the server's."""

from fedmx.command_line import Program, parse
from fedmx.deployment_settings import LocalSettings, PkiSettings
from fedmx.hyperparameters import Hyperparameters
from fedmx.program import run_program
from fedmx.run_settings import RunSettings
from fedmx.settings import ClientSettings, CommonSettings, ServerSettings, environment
from local.display import PipedConsole, print_line
from local.launch import federate
from local.plan import ROOT, check, make_plan
from local.room import FIRST_FOLDER, find_room

_PROGRAM = Program(
    "python -m local",
    "Run a federation on this machine (`make run`). Settings come from the environment; a blank one has its"
    " default.",
    {
        "settings of make run": LocalSettings,
        "settings of the server": ServerSettings,
        "settings of a run": RunSettings,
        "hyperparameters": Hyperparameters,
        "settings of the client": ClientSettings,
        "settings of server and client": CommonSettings,
        "settings of the authority": PkiSettings,
    },
)


def main() -> None:
    """Run the federation that the environment describes, then show its rounds and the path of the model."""
    parse(_PROGRAM)
    console = PipedConsole()
    environ = environment()
    check(make_plan(environ))
    with find_room(environ, ROOT) as room:
        folder = room.get("RUNS_DIR", FIRST_FOLDER)
        if folder != FIRST_FOLDER:
            print_line(console, f"{FIRST_FOLDER} is in use by another run; this run is written to {folder}")
        federate(console, make_plan({**environ, **room}), room)


if __name__ == "__main__":
    run_program(main)
