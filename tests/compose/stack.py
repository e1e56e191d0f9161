"""The real compose files on the real engine, under separate project names."""

import json
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedmx import __version__
from fedmx.pki.authority import LOCAL_SITE
from tests.ports import find_free_port

ROOT = Path(__file__).parents[2]
PATIENCE_S = 400.0
"""Seconds after which a test gives up waiting, on a machine that others use too."""
PROJECT = f"fedmx-test-{os.getpid()}"
FLEET = "compose.superlink.yml"
_OF_MAKE = (
    "Makefile",
    "server",
    "local",
    "deploy",
    "requirements",
    "docker-compose.yml",
    FLEET,
)
"""What make needs in the folder in which it runs."""
PROGRAMS = ("server", "client", "client-gpu", "model", "tensorboard")


def name_image(program: str, project: str = PROJECT) -> str:
    """Return the name that the compose file gives an image of this version."""
    return f"{project}-{program}:{__version__}"


def remove_images(project: str) -> None:
    """Remove a project's images; their layers stay in the engine's cache."""
    names = [name_image(program, project) for program in PROGRAMS]
    subprocess.run(["docker", "image", "rm", *names], capture_output=True, check=False)


def find_host_address() -> str:
    """Return the address of this machine on its network."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        # This chooses a route and sends nothing.
        probe.connect(("192.0.2.1", 9))
        address: str = probe.getsockname()[0]
        return address


def find_child(process_id: int) -> int:
    """Return the process id of the only child of a process."""
    command = ["pgrep", "--parent", str(process_id)]
    [child] = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    return int(child)


@dataclass(frozen=True)
class Container:
    """One container of a stack, as the engine describes it."""

    service: str
    facts: Mapping[str, Any]

    @property
    def id(self) -> str:
        return str(self.facts["Id"])

    @property
    def node(self) -> str:
        """The node name of a client on the server's machine."""
        return f"{LOCAL_SITE}.{self.host}"

    @property
    def host(self) -> str:
        return str(self.facts["Config"]["Hostname"])

    @property
    def mounts(self) -> set[tuple[str, str, bool]]:
        """The volumes, without the project's name, with their paths and whether they are writable."""
        return {
            (str(mount["Name"]).rpartition("_")[2], mount["Destination"], mount["RW"])
            for mount in self.facts["Mounts"]
        }

    @property
    def state(self) -> str:
        return str(self.facts["State"]["Status"])

    @property
    def exit_code(self) -> int:
        return int(self.facts["State"]["ExitCode"])

    @property
    def process_ids(self) -> tuple[int, int, int]:
        """The init process, the supervisor below it, and the program below that, as the host numbers them."""
        init = int(self.facts["State"]["Pid"])
        supervisor = find_child(init)
        return init, supervisor, find_child(supervisor)


@dataclass
class Stack:
    """`docker compose` for one project.

    Attributes:
        name: the name of the project.
        folder: receives copies of files in containers.
        environment: settings, as a shell would export them.
        override: the text of a second compose file.
        root: the folder of the compose file: the project's or a bundle's.
        overlays: names of further compose files in it.
    """

    name: str
    folder: Path
    environment: dict[str, str] = field(default_factory=dict)
    override: str = ""
    port: int = field(default_factory=find_free_port)
    root: Path = ROOT
    overlays: tuple[str, ...] = ()

    def command(self, *arguments: str) -> list[str]:
        files = [self.root / name for name in ("docker-compose.yml", *self.overlays)]
        if self.override:
            files.append(self.folder / "override.yml")
            files[-1].write_text(self.override)
        options = [word for file in files for word in ("-f", str(file))]
        return [
            "docker",
            "compose",
            "-p",
            self.name,
            "--project-directory",
            str(self.root),
            *options,
            *arguments,
        ]

    def variables(self, **settings: object) -> dict[str, str]:
        given = {name: str(value) for name, value in settings.items()}
        # A run starts with its MIN_CLIENTS: no test waits for more nodes.
        own = {
            "SERVER_PUBLISH": f"127.0.0.1:{self.port}",
            "SUPERLINK_PUBLISH": "127.0.0.1:",
            "FEDMX_VERSION": __version__,
            "JOIN_WINDOW": "0",
        }
        return {**os.environ, **own, **self.environment, **given}

    def run(self, *arguments: str, **settings: object) -> "subprocess.CompletedProcess[str]":
        """Run a command of compose to its end; `stdout` has all of its output."""
        return subprocess.run(
            self.command(*arguments),
            env=self.variables(**settings),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )

    def run_alone(self, *command: str, **settings: object) -> "subprocess.CompletedProcess[str]":
        """Run a service, or a command in its container, without the other services."""
        return self.run("run", "--rm", "--no-deps", "--no-TTY", *command, **settings)

    def make(
        self, *arguments: str, folder: Path = ROOT, timeout_s: float = PATIENCE_S
    ) -> "subprocess.CompletedProcess[str]":
        """Run a target of make on this project, in `folder`."""
        variables = {"COMPOSE_PROJECT_NAME": self.name, "COMPOSE_FILE": str(self.root / "docker-compose.yml")}
        for name in _OF_MAKE:
            if not (folder / name).exists():
                (folder / name).symlink_to(ROOT / name)
        return subprocess.run(
            ["make", *arguments],
            cwd=folder,
            env=self.variables(**variables),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    @contextmanager
    def begin(self, *arguments: str, **settings: object) -> "Iterator[subprocess.Popen[bytes]]":
        """Start a command of compose in a session of its own; it ends with the block."""
        with self._start(self.command(*arguments), self.variables(**settings)) as process:
            yield process

    @contextmanager
    def begin_make(self, *arguments: str, **settings: object) -> "Iterator[subprocess.Popen[bytes]]":
        """Start a target of make on this project in the same way."""
        variables = {"COMPOSE_PROJECT_NAME": self.name, "COMPOSE_FILE": str(self.root / "docker-compose.yml")}
        with self._start(["make", *arguments], self.variables(**variables, **settings)) as process:
            yield process

    @contextmanager
    def _start(self, command: list[str], variables: dict[str, str]) -> "Iterator[subprocess.Popen[bytes]]":
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=variables,
            # The logs have it.
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        with process:
            try:
                yield process
            finally:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)

    def up(self, *arguments: str, **settings: object) -> "subprocess.CompletedProcess[str]":
        return self.run("up", *arguments, **settings)

    def containers(self, service: str = "") -> list[Container]:
        """Return the project's containers, also those that have ended."""
        ids = self.run("ps", "--all", "--quiet", *([service] if service else [])).stdout.split()
        if not ids:
            return []
        inspected = subprocess.run(
            ["docker", "inspect", *ids], stdout=subprocess.PIPE, text=True, check=True
        ).stdout
        return [
            Container(facts["Config"]["Labels"]["com.docker.compose.service"], facts)
            for facts in json.loads(inspected)
        ]

    def container(self, service: str) -> Container:
        [found] = self.containers(service)
        return found

    def log(self, service: str = "") -> str:
        return self.run("logs", "--no-color", *([service] if service else [])).stdout

    def wait_for(self, pattern: str, service: str = "", timeout_s: float = PATIENCE_S) -> str:
        """Wait until the logs match, and return the match."""
        deadline = time.monotonic() + timeout_s
        while (found := re.search(pattern, log := self.log(service))) is None:
            if time.monotonic() > deadline:
                raise AssertionError(f"{pattern!r} is not in the logs:\n{log}")
            # Compose cannot follow its logs until a certain line.
            time.sleep(0.1)
        return found.group()

    def copy_runs(self) -> Path:
        """Copy the volume of the runs, and return the folder of the newest run."""
        copied = self.run("cp", "server:/runs/.", str(self.folder / "runs"))
        assert copied.returncode == 0, copied.stdout
        return (self.folder / "runs" / "latest").resolve()

    def read_model(self) -> dict[str, NDArray[Any]]:
        with np.load(self.copy_runs() / "model.npz") as arrays:
            return dict(arrays)

    def read_run(self) -> dict[str, Any]:
        facts: dict[str, Any] = json.loads((self.copy_runs() / "run.json").read_text())
        return facts

    def read_history(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.copy_runs() / "history.jsonl").read_text().splitlines()]

    def end(self) -> None:
        """Remove the project's containers, volumes, networks and images."""
        profiles = ("--profile", "*")
        # It is part of a project, but of no bundle.
        if (self.root / FLEET).exists():
            self.overlays = (FLEET,)
        self.run(*profiles, "down", "--volumes", "--timeout", "1", "--remove-orphans")
        remove_images(self.name)
