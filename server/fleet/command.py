"""`python -m server fleet COMMAND`: the commands for a SuperLink fleet, for its administrator."""

import argparse
from collections.abc import Callable
from pathlib import Path

from fedmx.command_line import add_command, add_commands
from fedmx.errors import RefusedError, SettingsError, StopSignal
from fedmx.hyperparameters import Hyperparameters
from fedmx.log import printable
from fedmx.program import ArgumentParser
from fedmx.run_settings import RunSettings
from fedmx.settings import ModelSettings, ServerSettings, load
from fedmx.values import Address
from server.fleet.flwr import Flwr, SuperLink
from server.fleet.membership import Membership
from server.fleet.runs import FleetRun, check_idle

_Action = Callable[[Flwr, argparse.Namespace], None]

SUMMARY = "register the sites of a SuperLink fleet, submit and follow its runs"
SETTINGS = {
    "settings of a run": RunSettings,
    "hyperparameters": Hyperparameters,
    "settings of the commands for runs": ModelSettings,
}


def add_arguments(parser: ArgumentParser) -> None:
    """Add the commands and their arguments; the defaults are those of containers."""
    commands = add_commands(parser, "fleet_command")

    def add(name: str, action: _Action, summary: str) -> ArgumentParser:
        command = add_command(commands, name, summary)
        command.set_defaults(action=action)
        return command

    parser.add_argument("--address", default="server:8000", help="host:port of the SuperLink")
    parser.add_argument(
        "--authority", type=Path, default=Path("/fleet/authority.crt"), help="certificate of the authority"
    )
    registering = add("register", _register, "register the sites that may join, and unregister all others")
    registering.add_argument("members", type=Path, help="file of their public keys, written by pki fleet")
    registering.add_argument("registered", type=Path, help="file with what was registered")
    running = add("run", _run, "submit a run, follow it, and print its result")
    running.add_argument("app", type=Path, help="folder of the apps")
    add("idle", _check_idle, "check that no run is in progress")
    following = add("follow", _follow, "follow a run, and print its result")
    following.add_argument("number", type=_parse_number, help="id of the run, as `flwr list` prints it")
    passing = add("flwr", _flwr, "run a command of flwr, such as list, stop or supernode list")
    passing.add_argument("arguments", nargs=argparse.REMAINDER, help="its arguments")


def run(arguments: argparse.Namespace) -> None:
    """Carry out a command.

    Raises:
        FederationError: no SuperLink answers, it refused the command, or the run failed.
    """
    try:
        address = Address.parse_peer(arguments.address)
    except ValueError as error:
        raise SettingsError(f"--address {arguments.address!r}: {error}") from None
    with SuperLink(address, arguments.authority).configured() as flwr:
        arguments.action(flwr, arguments)


def _register(flwr: Flwr, arguments: argparse.Namespace) -> None:
    Membership(flwr, arguments.registered).update(arguments.members)


def _run(flwr: Flwr, arguments: argparse.Namespace) -> None:
    from server.problems import find_problems  # noqa: PLC0415 - imports Flower, which other commands do not need

    settings = load(ServerSettings, find_problems)
    run = FleetRun.submit(flwr, arguments.app, settings)
    print(f"submitted run {run.number}; Ctrl-C stops following it, {_explain_stop(run)}", flush=True)
    _finish(run)


def _check_idle(flwr: Flwr, _: argparse.Namespace) -> None:
    check_idle(flwr)


def _follow(flwr: Flwr, arguments: argparse.Namespace) -> None:
    _finish(FleetRun(flwr, arguments.number))


def _finish(run: FleetRun) -> None:
    try:
        run.follow()
    except StopSignal:
        print(
            f"\nrun {run.number} continues; `make superlink ARGS='follow {run.number}'` follows it again,"
            f" {_explain_stop(run)}, `make superlink ARGS=list` lists all runs"
        )
        raise
    run.sum_up(load(ModelSettings).runs_dir)


def _parse_number(text: str) -> str:
    # `flwr` reports another text in a box of several lines.
    if not (text.isascii() and text.isdecimal()):
        raise argparse.ArgumentTypeError(f"{printable(text)}: expected the number that `flwr list` prints")
    return text


def _explain_stop(run: FleetRun) -> str:
    return f"`make superlink ARGS='stop {run.number}'` stops it"


def _flwr(flwr: Flwr, arguments: argparse.Namespace) -> None:
    code = flwr.run(*arguments.arguments)
    if code:
        # It has printed why.
        raise RefusedError(f"flwr {' '.join(arguments.arguments)}: failed with exit code {code}")
