"""`python -m server runs [COMMAND]`: lists, shows, compares, reports and removes the runs of a folder."""

import argparse
import contextlib
import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from fedmx.command_line import add_command, add_commands
from fedmx.errors import DataError, SettingsError
from fedmx.files import atomic_write
from fedmx.program import ArgumentParser
from fedmx.run_state import RUNNING
from fedmx.settings import ModelSettings, load
from server.record.removal import build_in_use_error, remove_run
from server.record.summary import RunSummary
from server.run_commands import comparing, settings_shown
from server.run_commands.comparing import compare_lines
from server.run_commands.find import find_run, find_runs, list_all, read_document
from server.run_commands.listing import list_lines
from server.run_commands.showing import show_lines

_Action = Callable[[Path, argparse.Namespace], None]

SUMMARY = "list, show, compare, report and remove runs"
SETTINGS = {"settings of the commands for runs": ModelSettings}

_RUN = "id of a run, the beginning of one, RUN_NAME, or latest"
_LEAST_COMPARED = 2


def add_arguments(parser: ArgumentParser) -> None:
    """Add the commands and their arguments; without a command, runs are listed."""
    commands = add_commands(parser, "runs_command", is_required=False)
    parser.set_defaults(action=_list)
    parser.add_argument("--json", action="store_true", help="print JSON")

    def add(name: str, action: _Action, summary: str) -> ArgumentParser:
        command = add_command(commands, name, summary)
        command.set_defaults(action=action)
        return command

    def add_json(command: ArgumentParser, what: str) -> None:
        # Without SUPPRESS, the default would overwrite a --json that was given before the command.
        command.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help=f"print {what}")

    add_json(add("list", _list, "list the runs, newest first"), "JSON")
    showing = add("show", _show, "show a run: facts, curves, settings, nodes, files")
    showing.add_argument("run", help=_RUN)
    add_json(showing, "JSON")
    compared = add("compare", _compare, "compare runs: settings that differ, metrics, curves")
    compared.add_argument("runs", nargs="+", metavar="run", help=_RUN)
    add_json(compared, "JSON")
    reporting = add("report", _report, "write a run, and others to compare, as one HTML file")
    reporting.add_argument("run", help=_RUN)
    reporting.add_argument("others", nargs="*", metavar="other", help="runs to compare with it")
    reporting.add_argument(
        "--output", default="", metavar="FILE", help="default: ID.html in this folder; - is standard output"
    )
    reporting.add_argument("--force", action="store_true", help="replace an existing file")
    removing = add("remove", _remove, "remove runs, with their models")
    removing.add_argument("runs", nargs="+", metavar="run", help=_RUN)
    removing.add_argument("--yes", action="store_true", help="do not ask")


def run(arguments: argparse.Namespace) -> None:
    """Carry out a command.

    Raises:
        SettingsError: a setting or an argument is not valid.
        DataError: a run cannot be found, read or removed, or a file cannot be written.
    """
    # The reader of the output may have ended, as in `python -m server runs | head`.
    with contextlib.suppress(BrokenPipeError):
        arguments.action(load(ModelSettings).runs_dir, arguments)


def _list(runs_dir: Path, arguments: argparse.Namespace) -> None:
    runs = list_all(runs_dir)
    if arguments.json:
        _print_json([run.to_json() for run in runs])
    elif runs:
        _print_lines(list_lines(runs))
    else:
        print(f"no runs in RUNS_DIR={runs_dir}")


def _show(runs_dir: Path, arguments: argparse.Namespace) -> None:
    run = find_run(runs_dir, arguments.run)
    document = read_document(runs_dir, run)
    if arguments.json:
        _print_json(document)
    else:
        _print_lines(show_lines(document, runs_dir / run.run_id, run.seconds))


def _compare(runs_dir: Path, arguments: argparse.Namespace) -> None:
    runs = find_runs(runs_dir, arguments.runs)
    if not _LEAST_COMPARED <= len(runs) <= comparing.MOST_RUNS:
        names = ", ".join(run.run_id for run in runs)
        raise SettingsError(
            f"runs compare: {names}: expected {_LEAST_COMPARED} to {comparing.MOST_RUNS} different runs"
        )
    documents = [read_document(runs_dir, run) for run in runs]
    if arguments.json:
        _print_json({"runs": documents, "settings": _find_differing(documents)})
    else:
        _print_lines(compare_lines(runs, documents))


def _find_differing(documents: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, str]]:
    """Return the settings that differ, as name -> run's id -> value."""
    ids = [document["run_id"] for document in documents]
    differing = settings_shown.list_differing([document["settings"] or {} for document in documents])
    return {name: dict(zip(ids, values, strict=True)) for name, values in differing.items()}


def _report(runs_dir: Path, arguments: argparse.Namespace) -> None:
    runs = find_runs(runs_dir, [arguments.run, *arguments.others])
    path = Path(arguments.output or f"{runs[0].run_id}.html")
    is_stream = arguments.output == "-"
    if not is_stream and not arguments.force and path.exists():
        raise DataError(f"{path}: exists already; expected the path of a new file, or --force to replace it")
    document, *others = [read_document(runs_dir, run) for run in runs]
    from server.status.page import build_report  # noqa: PLC0415 - no other command needs the page

    page = build_report(document, others).encode()
    if is_stream:
        sys.stdout.buffer.write(page)
        return
    with atomic_write(path) as file:
        file.write(page)
    print(f"wrote {path}")


def _remove(runs_dir: Path, arguments: argparse.Namespace) -> None:
    runs = find_runs(runs_dir, arguments.runs)
    # If one of them cannot be removed, none is.
    for run in runs:
        if run.status == RUNNING:
            raise build_in_use_error(run.run_id)
    if not arguments.yes:
        _ask(runs)
    for run in runs:
        remove_run(runs_dir, run.run_id)
        print(f"removed {run.run_id}")


def _ask(runs: Sequence[RunSummary]) -> None:
    """Ask whether runs are to be removed.

    Raises:
        SettingsError: the answer is no, or input is not a terminal.
    """
    names = ", ".join(run.run_id for run in runs)
    if not sys.stdin.isatty():
        raise SettingsError(
            f"runs remove: {names}: not confirmed; expected --yes where input is not a terminal"
        )
    try:
        answer = input(f"Remove {names} with all models and checkpoints? [y/N] ")
    except EOFError:
        answer = ""
    if answer.strip().lower() not in ("y", "yes"):
        raise SettingsError(f"runs remove: {names}: not confirmed; nothing was removed")


def _print_lines(lines: Iterable[str]) -> None:
    print("\n".join(lines))


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=2))
