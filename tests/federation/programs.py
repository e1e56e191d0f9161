"""The real programs, as processes on loopback."""

import atexit
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Protocol

from fedmx.deployment_settings import PkiSettings
from fedmx.pki.authority import LOCAL_SITE, Authority
from tests.bounds import HANG_S
from tests.federation.forked import Forked, Part

ROOT = Path(__file__).parents[2]
TASKS = Path(__file__).parent / "tasks"


@cache
def find_pki() -> Path:
    """Create an authority and certificates for programs on this machine, and return the folder."""
    folder = Path(tempfile.mkdtemp(prefix="fedmx-pki-"))
    atexit.register(shutil.rmtree, folder)
    authority = Authority(PkiSettings(pki_dir=folder))
    with authority.locked():
        authority.ensure()
    return folder


class Process(Protocol):
    """The part of `subprocess.Popen` that tests use."""

    @property
    def pid(self) -> int: ...

    @property
    def returncode(self) -> int | Any: ...

    def poll(self) -> int | None: ...

    def wait(self, timeout: float | None = None) -> int: ...

    def send_signal(self, sig: int) -> None: ...

    def kill(self) -> None: ...


@dataclass
class Program:
    """A running `python -m server` or `python -m client`, and its log file."""

    process: Process
    log_path: Path

    @property
    def log(self) -> str:
        return self.log_path.read_text()

    def wait(self, timeout_s: float = HANG_S) -> int:
        """Wait for its end, and return its exit code."""
        return self.process.wait(timeout_s)

    def wait_for(self, pattern: str, timeout_s: float = HANG_S) -> str:
        """Wait until its log matches, and return the match."""
        deadline = time.monotonic() + timeout_s
        while (found := re.search(pattern, self.log)) is None:
            if time.monotonic() > deadline or self.process.poll() is not None:
                raise AssertionError(f"{pattern!r} is not in the log:\n{self.log}")
            time.sleep(0.02)
        return found.group()

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.wait()


def make_environment(settings: Mapping[str, object]) -> dict[str, str]:
    """Return a program's environment: these settings, and none of the environment of the tests."""
    kept = {k: v for k, v in os.environ.items() if k in ("PATH", "HOME", "LD_LIBRARY_PATH")}
    return kept | {"PYTHONPATH": str(TASKS)} | {key: str(value) for key, value in settings.items()}


def start_command(*arguments: str, **settings: object) -> "subprocess.Popen[str]":
    """Start `python -m server` with these arguments; its output and its errors are read through pipes."""
    return subprocess.Popen(
        [sys.executable, "-m", "server", *arguments],
        cwd=ROOT,
        env=make_environment(settings),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@dataclass
class Federation:
    """One server's address and folder, and the programs that were started with it.

    Attributes:
        folder: for logs, and runs.
        port: of the server.
        is_forked: whether programs are forked from a process that has imported them; else each is started by
            its command, which takes seconds.
        programs: in the order in which they were started.
    """

    folder: Path
    port: int
    is_forked: bool = True
    programs: list[Program] = field(default_factory=list)

    @property
    def runs_dir(self) -> Path:
        return self.folder / "runs"

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start_server(self, **settings: object) -> Program:
        own = {"LISTEN_ADDRESS": self.address, "RUNS_DIR": self.runs_dir, "CERTS_DIR": find_pki() / "server"}
        return self._start("server", {**own, **settings})

    def start_client(self, **settings: object) -> Program:
        own = {"SERVER_ADDRESS": self.address, "CERTS_DIR": find_pki() / "sites" / LOCAL_SITE}
        return self._start("client", {**own, **settings})

    def run(
        self, clients: int = 2, client_settings: Mapping[str, object] | None = None, **settings: object
    ) -> int:
        """Run a federation until every program has ended, and return the server's exit code."""
        server = self.start_server(NUM_PARTITIONS=clients, MIN_CLIENTS=clients, **settings)
        nodes = [self.start_client(**(client_settings or {})) for _ in range(clients)]
        # The time limit of the test applies first.
        code = server.wait(3 * HANG_S)
        for node in nodes:
            node.wait()
        return code

    @property
    def facts(self) -> dict[str, Any]:
        facts: dict[str, Any] = json.loads((self.runs_dir / "latest" / "run.json").read_text())
        return facts

    @property
    def history(self) -> list[dict[str, Any]]:
        lines = (self.runs_dir / "latest" / "history.jsonl").read_text().splitlines()
        return [json.loads(line) for line in lines]

    @property
    def missing(self) -> list[list[str]]:
        """The names of the nodes that were missing, by round."""
        return [[node["name"] for node in line["missing"]] for line in self.history]

    @property
    def logs(self) -> str:
        return "\n".join(program.log for program in self.programs)

    def end(self) -> None:
        """Kill the programs that still run."""
        for program in self.programs:
            if program.process.poll() is None:
                program.process.kill()
                program.process.wait()

    def _start(self, name: str, settings: dict[str, object]) -> Program:
        path = self.folder / f"{name}-{len(self.programs)}.log"
        path.touch()
        self.programs.append(Program(self._launch(name, settings, path), path))
        return self.programs[-1]

    def _launch(self, name: str, settings: dict[str, object], log: Path) -> Process:
        environ = make_environment(settings)
        # MXNet's library reads the number of threads when it is loaded; one is the default.
        if self.is_forked and settings.get("CLIENT_THREADS", 1) == 1:
            return Forked(Part(name, environ, log).play)
        with log.open("wb") as output:
            return subprocess.Popen(
                [sys.executable, "-m", name],
                cwd=ROOT,
                env=environ,
                stdout=output,
                stderr=output,
                stdin=subprocess.DEVNULL,
            )
