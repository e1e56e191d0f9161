"""Flower's command line, `flwr`, for one SuperLink: its configuration, and errors in one line."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedmx.errors import DataError, RefusedError, UnreachableError
from fedmx.log import printable
from fedmx.settings import environment
from fedmx.values import Address

CONNECTION = "fleet"
"""The name of the connection in the configuration."""
_UNAVAILABLE = "Connection to the SuperLink is unavailable"
_QUIET = {"FLWR_TELEMETRY_ENABLED": "0", "FLWR_DISABLE_UPDATE_CHECK": "1"}
# Where the output is no terminal, tables would be cut off after 80 characters.
_WIDTH = "160"


@dataclass(frozen=True)
class SuperLink:
    """A SuperLink, as its administrator reaches it.

    Attributes:
        address: host and port.
        authority: file of the certificate that its own is checked against.
    """

    address: Address
    authority: Path

    @contextmanager
    def configured(self) -> "Iterator[Flwr]":
        """Write a configuration for `flwr`, which exists as long as the block runs.

        Raises:
            DataError: the authority's certificate is missing.
        """
        if not self.authority.is_file():
            raise DataError(
                f"{self.authority}: no such file; expected the certificate of the fleet's authority, which"
                " `make superlink` writes"
            )
        with tempfile.TemporaryDirectory(prefix="flwr-") as folder:
            (Path(folder) / "config.toml").write_text(
                f'[superlink]\ndefault = "{CONNECTION}"\n\n[superlink.{CONNECTION}]\n'
                f"address = {json.dumps(str(self.address))}\n"
                f"root-certificates = {json.dumps(str(self.authority.absolute()))}\n"
            )
            yield Flwr(self, Path(folder))


@dataclass(frozen=True)
class Flwr:
    """`flwr` with a configuration.

    Attributes:
        superlink: the SuperLink that it uses.
        folder: FLWR_HOME.
    """

    superlink: SuperLink
    folder: Path

    def command(self, *arguments: str) -> list[str]:
        """Return a command line of `flwr`."""
        return [str(Path(sys.executable).with_name("flwr")), *arguments]

    def environment(self) -> dict[str, str]:
        """Return the environment of `flwr`."""
        width = {} if sys.stdout.isatty() else {"COLUMNS": _WIDTH}
        return {**environment(), **_QUIET, **width, "FLWR_HOME": str(self.folder)}

    def start(self, *arguments: str) -> "subprocess.Popen[str]":
        """Start a command; its output can be read, and standard error is this program's."""
        return subprocess.Popen(
            self.command(*arguments), env=self.environment(), stdout=subprocess.PIPE, text=True
        )

    def run(self, *arguments: str) -> int:
        """Run a command whose output is this program's, and return its exit code."""
        return subprocess.run(self.command(*arguments), env=self.environment(), check=False).returncode

    def ask(self, *arguments: str) -> Mapping[str, Any]:
        """Run a command and return its answer.

        Raises:
            UnreachableError: no SuperLink answers at the address, or its certificate is not the authority's.
            RefusedError: the SuperLink refused the command.
        """
        done = subprocess.run(
            [*self.command(*arguments), "--format", "json"],
            env=self.environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        try:
            answer: dict[str, Any] = json.loads(done.stdout)
        except ValueError:
            answer = {"success": False, "error-message": done.stderr.strip() or done.stdout.strip()}
        if done.returncode or not answer.get("success"):
            raise self._build_error(str(answer.get("error-message", "")))
        return answer

    def _build_error(self, message: str) -> RefusedError | UnreachableError:
        if _UNAVAILABLE in message:
            return UnreachableError(
                f"SuperLink at {self.superlink.address}: no answer, or a certificate of another authority;"
                " expected a fleet that `make superlink` has started (`docker compose -f docker-compose.yml"
                " -f compose.superlink.yml logs superlink`)"
            )
        lines = [line.strip() for line in message.splitlines() if line.strip()]
        # What it prints before the error is no part of it.
        reason = lines[-1] if lines else "no reason given"
        return RefusedError(f"SuperLink at {self.superlink.address}: refused: {printable(reason)}")
