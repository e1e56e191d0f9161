"""`python -m server watch`: its arguments, and the page that they select."""

import argparse

from fedmx.errors import SettingsError
from fedmx.program import ArgumentParser
from fedmx.settings import WatchSettings, load
from fedmx.values import Address

SUMMARY = "watch a running federation in this terminal; the server needs STATUS_ADDRESS"
DEFAULT_ADDRESS = Address("127.0.0.1", 8081)
"""Where `make run` serves the page if the port is free."""


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument(
        "url",
        nargs="?",
        metavar="URL",
        help=f"of the server's page; by default, STATUS_ADDRESS on this machine, or {DEFAULT_ADDRESS}",
    )


def run(arguments: argparse.Namespace) -> None:
    """Show the run until it has ended.

    Raises:
        SettingsError: the URL or STATUS_ADDRESS cannot be used.
        TrainingFailedError: the run failed.
        UnreachableError: nothing answers.
    """
    from server.watching import watch  # noqa: PLC0415 - no other command draws on a terminal

    watch.watch(arguments.url or _find_url(load(WatchSettings).status_address))


def _find_url(address: Address | None) -> str:
    if address is None:
        return str(DEFAULT_ADDRESS)
    if address.port == 0:
        raise SettingsError(
            f"STATUS_ADDRESS={address}: the server chooses a free port when it starts; expected the URL from"
            " its log as the argument: python -m server watch URL"
        )
    return str(address.reachable_locally())
