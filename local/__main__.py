"""`python -m local`: the program behind `make run`. Its exit code is the server's."""

from pathlib import Path

from rich.console import Console

from fedmx.command_line import Program, parse
from fedmx.hyperparameters import Hyperparameters
from fedmx.pki import renewal
from fedmx.pki.authority import Authority
from fedmx.program import run_program
from fedmx.run_state import settle
from fedmx.settings import (
    ClientSettings,
    CommonSettings,
    LocalSettings,
    PkiSettings,
    RunSettings,
    ServerSettings,
    environment,
)
from local.display import make_table, open_display, print_line, print_table
from local.federation import check, run
from local.plan import ROOT, Plan, make_plan
from local.results import RunWatch, read_rounds, read_run
from local.room import find_room

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
    """Run the federation that the environment asks for, then show its rounds and where the model is."""
    parse(_PROGRAM)
    console = Console()
    environ = environment()
    check(make_plan(environ))
    with find_room(environ, ROOT) as room:
        federate(console, make_plan({**environ, **room}))


def federate(console: Console, plan: Plan) -> None:
    """Run a plan, then show its rounds and where the model is."""
    if plan.pki is not None:
        make_certificates(console, plan.pki)
    settle(plan.runs_dir)  # before the watch, which takes whatever changes for the run to come
    watch = RunWatch(plan.runs_dir)
    try:
        with open_display(console, plan.rounds) as display:
            run(plan, display, watch)
    finally:  # also of a run that failed or was stopped
        settle(plan.runs_dir)
        if folder := watch.find():
            show_results(console, folder, plan.root)


def make_certificates(console: Console, settings: PkiSettings) -> None:
    """Make the authority, and issue the certificates that are missing or expire soon."""
    authority = Authority(settings)
    with authority.locked():
        is_new = not authority.exists
        issued = authority.ensure()
        warnings = renewal.find_warnings(authority)
    for warning in warnings:
        print_line(console, f"WARNING {warning}")
    if is_new:
        print_line(console, f"made an authority and certificates in {settings.pki_dir}")
        return
    for one in issued:
        print_line(console, one.describe(authority.folder_of(one.role, one.name)))


def show_results(console: Console, folder: Path, root: Path) -> None:
    """Show the rounds that were finished, and the model if there is one."""
    if rounds := read_rounds(folder):
        print_table(console, make_table(rounds))
    model = folder / "model.npz"
    if model.exists():
        print_line(console, f"model: {_shorten(model, root)}")
        print_line(console, f"model_sha256: {read_run(folder)['model_sha256']}")
    elif rounds:
        place, done = _shorten(folder, root), rounds[-1].number
        runs_dir = _shorten(folder.parent, root)
        given = "" if runs_dir == Path("runs") else f" with RUNS_DIR={runs_dir}"
        print_line(console, f"unfinished: {place}; the same command{given} goes on after round {done}")


def _shorten(path: Path, root: Path) -> Path:
    return path.relative_to(root) if path.is_relative_to(root) else path


if __name__ == "__main__":
    run_program(main)
