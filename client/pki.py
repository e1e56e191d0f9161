"""`python -m client pki COMMAND`: requests a site's certificate and installs a bundle's files."""

import argparse
import os
from pathlib import Path

from cryptography import x509

from fedmx import parsing
from fedmx.command_line import add_command, add_commands
from fedmx.files import atomic_write, disk_errors
from fedmx.log import printable
from fedmx.pki import csr, ssh
from fedmx.pki.certificates import AUTHORITY_FILE, SITE
from fedmx.pki.credentials import read_credentials
from fedmx.program import ArgumentParser
from fedmx.settings import ClientSettings, load

# -1 means to change nothing, and Linux has user ids of 32 bits.
_LARGEST_UID = 2**32 - 2

SUMMARY = "request and install this site's certificate"


def add_arguments(parser: ArgumentParser) -> None:
    """Add the commands and their arguments."""
    commands = add_commands(parser, "pki_command")
    requesting = add_command(
        commands,
        "request",
        "generate a key, which stays here, and a signing request for the federation's authority",
    )
    requesting.add_argument("name", help="name of the site")
    installing = add_command(
        commands, "install", "copy a bundle's certificates and key to CERTS_DIR, readable by its clients"
    )
    installing.add_argument("source", type=Path, help="folder of the bundle's certificates")
    installing.add_argument(
        "--owner", type=_parse_owner, default=os.getuid(), help="user id that owns the copies"
    )
    exporting = add_command(
        commands, "ssh-key", "write this site's key in the form of OpenSSH, for a SuperNode of Flower's"
    )
    exporting.add_argument("file", type=Path, help="file of the private key; its public key is in FILE.pub")


def run(arguments: argparse.Namespace) -> None:
    """Carry out a command.

    Raises:
        SettingsError: an argument is not valid.
        DataError: a file is missing, cannot be read or written, or is not valid.
    """
    folder = load(ClientSettings).certs_dir
    if arguments.pki_command == "request":
        request = csr.create(arguments.name, folder)
        print(f"wrote {folder / 'site.key'}, which stays here, and {request}, for the federation's authority")
    elif arguments.pki_command == "ssh-key":
        write_ssh_key(folder, arguments.file)
    else:
        install(arguments.source, folder, arguments.owner)


def install(source: Path, folder: Path, owner: int) -> None:
    """Check a site's files and copy them for the user that its clients run as.

    Args:
        source: folder of the files.
        folder: CERTS_DIR of the clients.
        owner: user id.

    Raises:
        DataError: a file is missing, not valid, or cannot be written.
    """
    credentials = read_credentials(source, SITE)
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    for name, data, mode in (
        (AUTHORITY_FILE, credentials.authority, 0o644),
        ("site.crt", credentials.certificate, 0o644),
        ("site.key", credentials.key, 0o600),
    ):
        with atomic_write(folder / name, mode) as file:
            file.write(data)
            # Before the file has its name, so that nothing is installed if this is not permitted. The group
            # does not matter: only the owner can read the key.
            os.fchown(file.fileno(), owner, -1)


def write_ssh_key(folder: Path, path: Path) -> None:
    """Write a site's key in the form of OpenSSH.

    Args:
        folder: CERTS_DIR of the site's clients.
        path: file of the private key; the public key is written next to it, with the suffix `.pub`.

    Raises:
        DataError: a file is missing, not valid, or cannot be written.
    """
    credentials = read_credentials(folder, SITE)
    public = ssh.encode_public(x509.load_pem_x509_certificate(credentials.certificate))
    with atomic_write(path, 0o600) as file:
        file.write(ssh.encode_private(credentials.key))
    public_path = path.with_name(f"{path.name}.pub")
    with atomic_write(public_path, 0o644) as file:
        file.write(f"{public}\n".encode())
    print(f"wrote {path} and {public_path}")


def _parse_owner(text: str) -> int:
    try:
        return parsing.integer(at_least=0, at_most=_LARGEST_UID)(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{printable(text)}: {error}") from None
