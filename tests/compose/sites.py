"""A federation whose sites are stacks of their own, unpacked from bundles."""

import os
import subprocess
from pathlib import Path

from tests.compose.conftest import make_stack
from tests.compose.stack import Stack, find_host_address, name_image

# Unpacks the bundles; clients run as another user.
USER = 1000
QUICK = {"LOCAL_EPOCHS": 1, "JOIN_WINDOW": 0, "LEASE_GRACE": 5}


class Federation:
    """A server at this machine's address, and sites with bundles.

    Attributes:
        stack: the server's.
        sites: the sites' stacks, by name.
        messages: the output of `make bundle`, by site.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.stack = make_stack(folder)
        host = find_host_address()
        self.address = f"{host}:{self.stack.port}"
        self.host = host
        self.stack.environment.update(SERVER_PUBLISH=self.address, **as_text(QUICK))
        self.sites: dict[str, Stack] = {}
        self.messages: dict[str, str] = {}

    def make(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        return self.stack.make(*arguments, folder=self.folder)

    def make_or_fail(self, *arguments: str) -> str:
        made = self.make(*arguments)
        assert made.returncode == 0, made.stderr
        return made.stdout

    def bundle(self, site: str, *arguments: str) -> Path:
        command = ("bundle", f"SITE={site}", f"SERVER_ADDRESS={self.address}", *arguments)
        self.messages[site] = self.make_or_fail(*command)
        return self.folder / f"{site}.tar.gz"

    def unpack(self, site: str) -> Stack:
        """Have another user unpack a site's archive, and return the stack there."""
        stack = make_stack(self.folder / f"at-{site}")
        stack.folder.mkdir(exist_ok=True)
        os.chown(stack.folder, USER, USER)
        self.extract(site, stack.folder)
        stack.root = stack.folder / site
        self.sites[site] = stack
        return stack

    def extract(self, site: str, folder: Path, *options: str) -> None:
        """Have the other user unpack a site's archive in a folder."""
        command = ["tar", "--extract", "--gzip", *options]
        with (self.folder / f"{site}.tar.gz").open("rb") as archive:
            subprocess.run(command, stdin=archive, cwd=folder, user=USER, group=USER, check=True)

    def end(self) -> None:
        for stack in (*self.sites.values(), self.stack):
            stack.end()


def as_text(settings: dict[str, object] | dict[str, int]) -> dict[str, str]:
    return {name: str(value) for name, value in settings.items()}


def make_request(folder: Path, site: str) -> None:
    """Generate a site's key in a folder, with the client's image, as the site's user."""
    folder.mkdir()
    os.chown(folder, USER, USER)
    options = ["--rm", "--user", str(USER), "--volume", f"{folder}:/certs", "--env", "CERTS_DIR=/certs"]
    command = ["python", "-m", "client", "pki", "request", site]
    subprocess.run(
        ["docker", "run", *options, name_image("client"), *command], check=True, capture_output=True
    )
