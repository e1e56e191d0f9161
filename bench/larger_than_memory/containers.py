"""Runs the script and the task in the client's container, whose memory is limited."""

import os
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from bench.larger_than_memory.measured import Measured, Plan, read_memory
from bench.processes import MeasurementError
from fedmx.settings import environment

ROOT = Path(__file__).parents[2]

_PROJECT = "fedmx-bench"
_DATA = Path("/data")
_EVERY_S = 0.2
_OVERRIDE = f"""
services:
  client:
    volumes:
      - {ROOT}/bench:/opt/fedmx/bench:ro
      - ${{X_DATA}}:{_DATA}:ro
"""


class Stack:
    """The compose files under a project name of its own; its containers, volumes and images end with it.

    Args:
        memory: `CLIENT_MEMORY`.
        cores: `CLIENT_CPUS`.
    """

    def __init__(self, memory: str, cores: str) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="fedmx-bench-")
        self._override = Path(self._folder.name) / "override.yml"
        self._override.write_text(_OVERRIDE)
        self._project = environment().get("COMPOSE_PROJECT_NAME", f"{_PROJECT}-{os.getpid()}")
        self._limits = {"CLIENT_MEMORY": memory, "CLIENT_CPUS": cores}

    def __enter__(self) -> Self:
        _wait(self._compose({"X_DATA": self._folder.name}, "build", "server", "client"))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._down("--rmi", "local")
        self._folder.cleanup()

    def run_script(self, plan: Plan, workers: int) -> Measured:
        """Run the script in a client's container."""
        command = ["run", "--rm", "--no-deps", "--no-TTY", "client", "python", "-m"]
        arguments = plan.script_arguments(_DATA, workers)
        output, peak = self._watch(self._compose(self._settings(plan), *command, *arguments))
        return Measured.of_script(output, peak)

    def run_task(self, plan: Plan) -> Measured:
        """Run a server and one client."""
        settings = self._settings(plan)
        try:
            _, peak = self._watch(self._compose(settings, "up", "--scale", "client=1"))
            history = "server:/runs/latest/history.jsonl"
            copied = Path(self._folder.name) / "history.jsonl"
            _wait(self._compose(settings, "cp", history, str(copied)))
            return Measured.of_history(copied.read_text(), peak)
        finally:
            self._down()

    def _settings(self, plan: Plan) -> dict[str, str]:
        return {
            **plan.task_settings(_DATA),
            "X_DATA": str(plan.folder),
            "SERVER_PUBLISH": "127.0.0.1:",
            "JOIN_WINDOW": "0",
        }

    def _compose(self, settings: Mapping[str, str], *arguments: str) -> "subprocess.Popen[str]":
        files = ["-f", str(ROOT / "docker-compose.yml"), "-f", str(self._override)]
        command = ["docker", "compose", "-p", self._project, "--project-directory", str(ROOT), *files]
        return subprocess.Popen(
            [*command, *arguments],
            env={**environment(), **self._limits, **settings},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def _down(self, *options: str) -> None:
        _wait(
            self._compose(
                {"X_DATA": self._folder.name},
                "down",
                "--volumes",
                "--remove-orphans",
                "--timeout",
                "1",
                *options,
            )
        )

    def _watch(self, command: "subprocess.Popen[str]") -> tuple[str, int]:
        """Wait for a command; return its output and the peak of the client's memory."""
        peak = 0
        client = 0
        while True:
            try:
                output, errors = command.communicate(timeout=_EVERY_S)
                break
            except subprocess.TimeoutExpired:
                client = client or self._find_client()
                peak = max(peak, read_memory(client) if client else 0)
        _check(command, output + errors)
        return output, peak

    def _find_client(self) -> int:
        """Return the first process of the client's container; 0 if there is none."""
        labels = {"project": self._project, "service": "client"}
        wanted = [f"--filter=label=com.docker.compose.{key}={value}" for key, value in labels.items()]
        found = _ask("ps", "--quiet", *wanted).split()
        text = _ask("inspect", "--format", "{{.State.Pid}}", found[0]) if found else ""
        return int(text or 0)


def _ask(*arguments: str) -> str:
    """Return what the engine prints, nothing if it fails: a container may have ended."""
    return subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False).stdout.strip()


def _wait(command: "subprocess.Popen[str]") -> None:
    """Wait for a command of Compose."""
    output, errors = command.communicate()
    _check(command, output + errors)


def _check(command: "subprocess.Popen[str]", output: str) -> None:
    """Check how a command has ended.

    Raises:
        MeasurementError: it failed.
    """
    if command.returncode:
        raise MeasurementError(f"docker compose: exit {command.returncode}: {output[-500:]}")
