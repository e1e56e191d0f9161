"""Runs a plan and shows how it ended: its rounds, its nodes, and the model or how to resume the run."""

import shlex
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console

from fedmx.deployment_settings import PkiSettings
from fedmx.errors import FederationError
from fedmx.pki import renewal
from fedmx.pki.authority import Authority
from fedmx.run_state import settle
from local.display import Display, print_line, print_table
from local.federation import Federation
from local.plan import Plan
from local.results import describe_stop, read_nodes, read_rounds, read_run, read_totals, was_interrupted
from local.room import ANY_PORT, FIRST_FOLDER
from local.tables import (
    describe_order,
    describe_totals,
    make_node_table,
    make_table,
    make_totals_table,
)


def federate(console: Console, plan: Plan, room: Mapping[str, str]) -> None:
    """Run a plan, then show its rounds and the path of the model, also if it failed or was stopped.

    Args:
        console: where it is shown.
        plan: what to start.
        room: the settings that the launcher has chosen.
    """
    if plan.pki is not None:
        issue_certificates(console, plan.pki)
    # Another program may have taken the port since it was found free.
    fallback = {"STATUS_ADDRESS": ANY_PORT} if "STATUS_ADDRESS" in room else {}
    federation = Federation(plan, fallback)
    exit_code = 0
    try:
        with Display(console) as display:
            federation.run(display)
    except FederationError as error:
        exit_code = error.exit_code
        raise
    finally:
        settle(plan.runs_dir)
        # If the command was rejected, the folder has an older run, which is not its result.
        if federation.run_dir and federation.has_worked_on_run(exit_code):
            show_results(console, federation.run_dir, plan, room.get("RUNS_DIR", ""))


def issue_certificates(console: Console, settings: PkiSettings) -> None:
    """Create the authority, and issue the certificates that are missing or expire soon."""
    authority = Authority(settings)
    with authority.locked():
        is_new = not authority.exists
        issued = authority.ensure()
        warnings = renewal.find_warnings(authority)
    for warning in warnings:
        print_line(console, f"WARNING {warning}")
    if is_new:
        print_line(console, f"created an authority and certificates in {settings.pki_dir}")
        return
    for one in issued:
        print_line(console, one.describe(authority.folder_of(one.role, one.name)))


def show_results(console: Console, run_dir: Path, plan: Plan, chosen_folder: str) -> None:
    """Show the rounds, the newest one's nodes, totals, and the model, or else how to resume the run."""
    root = plan.root
    if rounds := read_rounds(run_dir):
        print_table(console, make_table(rounds))
    if nodes := read_nodes(run_dir):
        print_line(console, describe_order(nodes))
        print_table(console, make_node_table(nodes))
    if totals := read_totals(run_dir):
        print_line(console, describe_totals(totals))
        print_table(console, make_totals_table(totals))
    model = run_dir / "model.npz"
    if model.exists():
        facts = read_run(run_dir)
        if reason := describe_stop(facts):
            print_line(console, reason)
        print_line(console, f"model: {_shorten(model, root)}")
        print_line(console, f"model_sha256: {facts['model_sha256']}")
        print_line(console, f"details: {_make_command(run_dir.parent, root)}")
    elif rounds:
        command = _name_command(plan, chosen_folder)
        print_line(
            console,
            f"unfinished: {_shorten(run_dir, root)}; {command} resumes it after round {rounds[-1].number};"
            " RESUME=never starts a new run",
        )
    elif was_interrupted(run_dir):
        command = _name_command(plan, chosen_folder)
        print_line(console, f"no round was finished; {command} begins the run again")


def _name_command(plan: Plan, chosen_folder: str) -> str:
    """Return how the command that resumes a run differs from the one that started it."""
    # A folder that the user has set is part of the same command.
    changes = [f"RUNS_DIR={chosen_folder}"] if chosen_folder not in ("", FIRST_FOLDER) else []
    if plan.server.get("RESUME", "").strip() == "never":
        changes.append("RESUME=auto")
    return f"the same command with {' '.join(changes)}" if changes else "the same command"


def _make_command(runs_dir: Path, root: Path) -> str:
    """Return the command that shows the newest run of a folder."""
    setting = (
        "" if runs_dir == root / FIRST_FOLDER else f" RUNS_DIR={shlex.quote(str(_shorten(runs_dir, root)))}"
    )
    return f'make runs ARGS="show latest"{setting}'


def _shorten(path: Path, root: Path) -> Path:
    return path.relative_to(root) if path.is_relative_to(root) else path
