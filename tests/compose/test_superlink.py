"""A SuperLink fleet: three runs on one standing fleet with TLS and authentication, one of them stopped."""

import json
import re
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.compose.conftest import make_stack
from tests.compose.stack import FLEET, PATIENCE_S, ROOT, Stack
from tests.federation.programs import Federation
from tests.ports import find_free_port

# Each message to a node starts a process, which takes long where other work shares the cores.
LONG_S = 3 * PATIENCE_S

pytestmark = [pytest.mark.compose, pytest.mark.timeout(3 * LONG_S)]

STANDING = {"superlink", "superexec-serverapp", "supernode", "superexec-clientapp"}
ONCE = {"pki", "register"}
QUICK = {"LOCAL_EPOCHS": "1", "JOIN_WINDOW": "0"}


@dataclass(frozen=True)
class Fleet:
    """A fleet that has trained a model.

    Attributes:
        stack: its project.
        made: `make superlink`, which started it.
    """

    stack: Stack
    made: "subprocess.CompletedProcess[str]"

    def make(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        return self.stack.make("superlink", *arguments, timeout_s=LONG_S)

    def list_runs(self) -> list[dict[str, Any]]:
        """Return the runs, newest first."""
        listed = self.make("ARGS=list --format json")
        assert listed.returncode == 0, listed.stderr
        runs: list[dict[str, Any]] = json.loads(listed.stdout)["runs"]
        return runs

    def list_nodes(self) -> list[str]:
        """Return the states of the registered SuperNodes."""
        listed = self.make("ARGS=supernode list --format json")
        return [node["status"] for node in json.loads(listed.stdout)["nodes"]]


@pytest.fixture(scope="module")
def fleet(images: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    stack = make_stack(tmp_path_factory.mktemp("fleet"))
    stack.overlays = (FLEET,)
    stack.environment.update(QUICK)
    try:
        yield Fleet(stack, stack.make("superlink", "ROUNDS=2", timeout_s=LONG_S))
    finally:
        stack.end()


def test_make_superlink_trains_the_model_of_the_direct_link_and_prints_it(
    fleet: Fleet, tmp_path: Path
) -> None:
    made = fleet.made
    assert made.returncode == 0, made.stdout + made.stderr
    federation = Federation(tmp_path, find_free_port())
    assert federation.run(NUM_ROUNDS=2, LOCAL_EPOCHS=1) == 0, federation.logs
    digest = federation.facts["model_sha256"]
    assert re.search(rf"^model .*SHA-256 {digest}$", made.stdout, re.MULTILINE)
    assert re.search(r"^run  +\d{8}-\d{6}-\w{4}$", made.stdout, re.MULTILINE)
    assert "round finished round=2" in made.stdout
    shown = fleet.stack.make("runs", "FROM=containers", "ARGS=show latest")
    assert digest in shown.stdout


def test_every_program_of_a_fleet_is_confined_and_stays(fleet: Fleet) -> None:
    containers = fleet.stack.containers()
    states = {container.service: container.state for container in containers}
    assert {name for name, state in states.items() if state == "running"} == STANDING
    assert {name for name, state in states.items() if state == "exited"} == ONCE
    for container in containers:
        host, config = container.facts["HostConfig"], container.facts["Config"]
        assert host["ReadonlyRootfs"], container.service
        assert host["CapDrop"] == ["ALL"]
        assert host["SecurityOpt"] == ["no-new-privileges:true"]
        assert config["User"] == "10001:10001"
        assert host["Memory"]
        assert host["PidsLimit"]
        assert {"FLWR_TELEMETRY_ENABLED=0", "FLWR_DISABLE_UPDATE_CHECK=1"} <= set(config["Env"])
        ports = [binding for found in (host["PortBindings"] or {}).values() for binding in found]
        assert {binding["HostIp"] for binding in ports} <= {"127.0.0.1"}
        # The keys of the authority, the server and the sites.
        keys = {name for name, _, _ in container.mounts} & {"authority", "server-certs", "fleet-supernodes"}
        expected = {"superlink": {"server-certs"}, "supernode": {"fleet-supernodes"}}
        if container.service != "pki":
            assert keys == expected.get(container.service, set()), container.service
    command = fleet.stack.container("superlink").facts["Config"]["Cmd"]
    assert {"--enable-supernode-auth", "--disable-runtime-dependency-installation"} <= set(command)


def test_a_clientapp_reaches_its_supernode_alone(fleet: Fleet) -> None:
    for app in fleet.stack.containers("superexec-clientapp"):
        [network] = app.facts["NetworkSettings"]["Networks"]
        assert network.endswith("_clientapps")
        inspected = subprocess.run(
            ["docker", "network", "inspect", network], capture_output=True, text=True, check=True
        )
        assert json.loads(inspected.stdout)[0]["Internal"]


def test_a_run_that_is_stopped_ends_and_one_run_trains_at_a_time(fleet: Fleet) -> None:
    with fleet.stack.begin_make("superlink", ROUNDS=50, SEED=2) as following:
        while (run := fleet.list_runs()[0])["status"] != "running":
            assert following.poll() is None
        second = fleet.make("ROUNDS=1")
        assert second.returncode == 2
        assert f"run {run['run-id']}: running; expected no other run" in second.stdout + second.stderr
        stopped = fleet.make(f"ARGS=stop {run['run-id']}")
        assert stopped.returncode == 0, stopped.stderr
        # make's own code for a failed recipe.
        assert following.wait(PATIENCE_S) == 2
    assert fleet.list_runs()[0]["status"] == "finished:stopped"


def test_another_run_uses_the_standing_fleet(fleet: Fleet) -> None:
    before = {container.id for container in fleet.stack.containers() if container.service in STANDING}
    made = fleet.make("ROUNDS=1", "SEED=1")
    assert made.returncode == 0, made.stdout + made.stderr
    after = {container.id for container in fleet.stack.containers() if container.service in STANDING}
    assert after == before
    assert fleet.list_nodes() == ["online", "online"]
    statuses = [run["status"] for run in fleet.list_runs()]
    assert statuses == ["finished:completed", "finished:stopped", "finished:completed"]


def test_a_site_with_a_bundle_joins_a_running_fleet(fleet: Fleet, tmp_path: Path) -> None:
    command = ("bundle", "SITE=hospital-a", "SERVER_ADDRESS=server:8000")
    made = fleet.stack.make(*command, folder=tmp_path)
    assert made.returncode == 0, made.stderr
    with tarfile.open(tmp_path / "hospital-a.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    shutil.copy(ROOT / "deploy" / "superlink" / "site.yml", tmp_path / "hospital-a")
    site = Stack(f"{fleet.stack.name}-hospital-a", tmp_path, root=tmp_path / "hospital-a")
    site.overlays = ("site.yml",)
    site.environment["SUPERLINK_ADDRESS"] = "server:8000"
    # The port is published on loopback only.
    site.override = f"networks: {{default: {{external: true, name: {fleet.stack.name}_fleet}}}}"
    try:
        up = site.run("up", "--detach")
        assert up.returncode == 0, up.stdout
        site.wait_for("SuperNode ID: ", "supernode")
        assert fleet.list_nodes() == ["online"] * 3
    finally:
        site.end()


def test_a_setting_that_is_not_valid_is_reported_before_a_run_is_submitted(fleet: Fleet) -> None:
    before = len(fleet.list_runs())
    made = fleet.make("LEARNING_RATE=fast")
    assert made.returncode == 2
    assert "LEARNING_RATE='fast': " in made.stdout + made.stderr
    assert "Traceback" not in made.stdout + made.stderr
    assert len(fleet.list_runs()) == before


def test_a_site_that_is_revoked_is_refused_and_the_others_stay(fleet: Fleet) -> None:
    stack = fleet.stack
    revoked = stack.make("pki-revoke", "NAME=supernode-2")
    assert revoked.returncode == 0, revoked.stdout + revoked.stderr
    assert fleet.list_nodes().count("online") == 1
    while all(container.state == "running" for container in stack.containers("supernode")):
        assert "Failed to initialize" not in stack.log("supernode")
    assert stack.run("up", "--detach").returncode == 0
    stack.wait_for("Failed to initialize the connection to the SuperLink", "supernode")
    assert fleet.list_nodes().count("online") == 1


def test_without_a_fleet_each_command_is_refused_in_one_line(fleet: Fleet) -> None:
    down = fleet.stack.make("superlink-down")
    assert down.returncode == 0, down.stderr
    assert fleet.stack.containers() == []
    for arguments in ("list", "stop 1", "follow 1"):
        made = fleet.make(f"ARGS={arguments}")
        line, _ = made.stderr.splitlines()
        assert "no fleet is running" in line
        assert made.stdout == ""
