"""A stack of a swarm on the real engine: `make swarm`, under a separate project name."""

import json
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tests.compose.stack import PATIENCE_S, Stack

_LABEL = "fedmx.server"


def docker(*arguments: str) -> str:
    """Return the output of a command of the engine that has to succeed."""
    done = subprocess.run(
        ["docker", *arguments], capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def is_in_swarm() -> bool:
    """Return whether the engine manages a swarm already."""
    return docker("info", "--format", "{{.Swarm.LocalNodeState}}") == "active"


@contextmanager
def hold_swarm() -> Iterator[None]:
    """Label this engine as the server's host, in the swarm that it manages or in one of its own."""
    is_own = not is_in_swarm()
    if is_own:
        docker("swarm", "init", "--advertise-addr", "127.0.0.1")
    node = docker("info", "--format", "{{.Swarm.NodeID}}")
    docker("node", "update", "--label-add", f"{_LABEL}=true", node)
    try:
        yield
    finally:
        if is_own:
            docker("swarm", "leave", "--force")
        else:
            docker("node", "update", "--label-rm", _LABEL, node)


@dataclass(frozen=True)
class Task:
    """One container of a service, now or before, as `docker service ps` lists it."""

    id: str
    slot: str
    image: str
    wanted: str
    state: str

    @property
    def is_running(self) -> bool:
        return (self.wanted, self.state) == ("Running", "Running")


@dataclass
class SwarmStack:
    """`make swarm` for one project, with the volumes and images of its Stack."""

    stack: Stack

    def deploy(self, **settings: object) -> "subprocess.CompletedProcess[str]":
        return self.stack.make("swarm", *(f"{name}={value}" for name, value in settings.items()))

    def remove(self) -> None:
        if self.list_left():
            removed = self.stack.make("swarm-down")
            assert removed.returncode == 0, removed.stderr

    def list_left(self) -> list[str]:
        """List all that the swarm has of the stack, except volumes."""
        of_stack = ("--quiet", "--filter", f"label=com.docker.stack.namespace={self.stack.name}")
        kinds = ("service", "secret", "config", "network", "container")
        return [
            f"{kind} {one}"
            for kind in kinds
            for one in docker(kind, "ls", *of_stack, *(["--all"] if kind == "container" else [])).split()
        ]

    def name(self, service: str) -> str:
        return f"{self.stack.name}_{service}"

    def list_tasks(self, service: str) -> list[Task]:
        """Return a service's containers, of each slot the newest first."""
        form = "{{.ID}}\t{{.Name}}\t{{.Image}}\t{{.DesiredState}}\t{{.CurrentState}}"
        lines = docker("service", "ps", "--format", form, self.name(service)).splitlines()
        fields = [line.split("\t") for line in lines]
        return [
            Task(id_, name.rpartition(".")[2], image, wanted, state.split()[0])
            for id_, name, image, wanted, state in fields
        ]

    def list_newest(self, service: str) -> list[Task]:
        """Return the newest container of each slot."""
        newest: dict[str, Task] = {}
        for task in self.list_tasks(service):
            newest.setdefault(task.slot, task)
        return [newest[slot] for slot in sorted(newest)]

    def wait_for(self, service: str, *states: str) -> list[Task]:
        """Wait until the newest container of each slot is in one of some states, and return them."""
        deadline = time.monotonic() + PATIENCE_S
        while not (found := self.list_newest(service)) or not {task.state for task in found} <= {*states}:
            if time.monotonic() > deadline:
                raise AssertionError(f"{service} is not {states}: {found}\n{self.read_log('server')}")
            # The engine cannot wait for a state.
            time.sleep(0.2)
        return found

    def wait_for_end(self) -> dict[str, Any]:
        """Wait until the server has ended, and return its run."""
        # An engine that cannot remove a network counts a container that has finished as failed.
        self.wait_for("server", "Complete", "Failed")
        return self.show_run()

    def wait_for_update(self, service: str, state: str, image: str) -> str:
        """Wait until an update to an image is in a state, and return the engine's message."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            facts: dict[str, Any] = json.loads(docker("service", "inspect", self.name(service)))[0]
            update = facts.get("UpdateStatus", {})
            is_newest = facts["Spec"]["TaskTemplate"]["ContainerSpec"]["Image"] == image
            if is_newest and update.get("State") == state:
                return str(update["Message"])
            if time.monotonic() > deadline:
                raise AssertionError(f"the update of {service} is not {state}: {update}")
            time.sleep(0.2)

    def read_log(self, service: str) -> str:
        """Return what a service's programs have written, which is on both streams of the command."""
        command = ["docker", "service", "logs", "--raw", self.name(service)]
        return subprocess.run(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=PATIENCE_S,
            check=True,
        ).stdout

    def wait_for_log(self, pattern: str, service: str = "server") -> None:
        deadline = time.monotonic() + PATIENCE_S
        while re.search(pattern, log := self.read_log(service)) is None:
            if time.monotonic() > deadline:
                raise AssertionError(f"{pattern!r} is not in the log:\n{log}")
            time.sleep(0.2)

    def find_container(self, task: Task) -> dict[str, Any]:
        """Return what the engine knows of a task's container."""
        container = docker("inspect", "--format", "{{.Status.ContainerStatus.ContainerID}}", task.id)
        facts: dict[str, Any] = json.loads(docker("inspect", container))[0]
        return facts

    def list_runs(self) -> list[dict[str, Any]]:
        """Return the runs in the volume, newest first."""
        listed = self.stack.make("runs", "FROM=containers", "ARGS=--json")
        assert listed.returncode == 0, listed.stderr
        runs: list[dict[str, Any]] = json.loads(listed.stdout)
        return runs

    def show_run(self) -> dict[str, Any]:
        shown = self.stack.make("runs", "FROM=containers", "ARGS=show latest --json")
        assert shown.returncode == 0, shown.stderr
        run: dict[str, Any] = json.loads(shown.stdout)
        return run
