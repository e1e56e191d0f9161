"""`python -m client pki COMMAND`: a site's own part of its certificate, and where its clients find it."""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from fedmx.files import atomic_write, disk_errors
from fedmx.pki import credentials, csr
from fedmx.pki.credentials import AUTHORITY_FILE, SITE
from fedmx.program import ArgumentParser
from fedmx.settings import ClientSettings, load


def main(arguments: Sequence[str]) -> None:
    """Carry out one command.

    Raises:
        SettingsError: the command is wrong.
        DataError: a file is missing, or does not do.
    """
    folder = load(ClientSettings).certs_dir
    given = _make_parser().parse_args(arguments)
    if given.command == "request":
        request = csr.make(given.name, folder)
        print(f"made {folder / 'site.key'}, which stays here, and {request}, for the federation's authority")
    else:
        install(given.source, folder, given.owner)


def install(source: Path, folder: Path, owner: int) -> None:
    """Copy a site's files for the user that its clients run as, once they are known to do.

    Args:
        source: where they are.
        folder: CERTS_DIR of the clients.
        owner: the user's number.

    Raises:
        DataError: they do not do, or cannot be written.
    """
    own = credentials.read_own(source, SITE)
    for name, data, mode in (
        (AUTHORITY_FILE, own.authority, 0o644),
        ("site.crt", own.certificate, 0o644),
        ("site.key", own.key, 0o600),
    ):
        with atomic_write(folder / name, mode) as file:
            file.write(data)
        with disk_errors(folder / name):
            os.chown(folder / name, owner, -1)  # whose group matters to nobody


def _make_parser() -> argparse.ArgumentParser:
    parser = ArgumentParser(prog="python -m client pki", description="A site's certificate, in CERTS_DIR.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    words = "make a key that stays here, and the request that the federation's authority signs"
    commands.add_parser("request", help=words, description=words).add_argument("name", help="of the site")
    words = "copy a bundle's files to where containers read them"
    copying = commands.add_parser("install", help=words, description=words)
    copying.add_argument("source", type=Path, help="folder of the bundle's files")
    copying.add_argument("--owner", type=int, default=os.getuid(), help="number of the user that reads them")
    return parser
