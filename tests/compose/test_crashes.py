"""A stack recovers from crashes, and the run produces the same model as an undisturbed one."""

import os
import re
import signal
import subprocess
from pathlib import Path

import pytest

from tests.compose.stack import PATIENCE_S, Container, Stack

pytestmark = [pytest.mark.compose, pytest.mark.timeout(1200)]

_AWAY_S = 5.0

INIT, SUPERVISOR, PROGRAM = range(3)
SETTINGS = {"NUM_ROUNDS": 6, "LOCAL_EPOCHS": 1, "MIN_CLIENTS": 2}


@pytest.fixture(scope="module")
def undisturbed(shared_stack: Stack) -> str:
    """The digest of the model of an undisturbed run."""
    up = shared_stack.up("--scale", "client=2", **SETTINGS)
    assert up.returncode == 0, up.stdout
    return str(shared_stack.read_run()["model_sha256"])


@pytest.mark.parametrize("service", ["server", "client"])
def test_a_program_killed_during_a_round_is_restarted_and_the_run_completes(
    stack: Stack, undisturbed: str, service: str
) -> None:
    with stack.begin("up", "--scale", "client=2", **SETTINGS) as up:
        stack.wait_for("round finished round=2 ", "server", PATIENCE_S)
        kill(stack.containers(service)[0], PROGRAM)
        assert up.wait(PATIENCE_S) == 0
    run = stack.read_run()
    assert (run["status"], run["model_sha256"]) == ("finished", undisturbed)
    assert [line["round"] for line in stack.read_history()] == [1, 2, 3, 4, 5, 6]
    assert len(run["resumed"]) == (1 if service == "server" else 0)
    assert {container.exit_code for container in stack.containers()} == {0}


def test_a_program_that_keeps_crashing_is_restarted_five_times(stack: Stack) -> None:
    with stack.begin("up", "server", **SETTINGS) as up:
        for number in range(6):
            stack.wait_for(rf"(?s)(listening.*){{{number + 1}}}", "server", PATIENCE_S)
            kill(stack.container("server"), PROGRAM)
        assert up.wait(PATIENCE_S) == 0
    server = stack.container("server")
    assert (server.state, server.exit_code) == ("exited", 137)
    assert len(re.findall("restart=[1-5] restarts=5 ", stack.log("server"))) == 5


@pytest.mark.parametrize("process", [INIT, SUPERVISOR])
def test_a_container_ends_with_its_first_processes_and_the_next_up_resumes_the_run(
    stack: Stack, undisturbed: str, process: int
) -> None:
    with stack.begin("up", "--scale", "client=2", **SETTINGS) as up:
        stack.wait_for("round finished round=2 ", "server", PATIENCE_S)
        process_ids = stack.container("server").process_ids
        os.kill(process_ids[process], signal.SIGKILL)
        assert up.wait(PATIENCE_S) != 0
    server = stack.container("server")
    assert (server.state, server.exit_code) == ("exited", 137)
    assert not any(Path(f"/proc/{process_id}").exists() for process_id in process_ids)
    resume(stack, undisturbed)


def test_a_client_rejoins_after_it_was_disconnected_from_the_network(stack: Stack, undisturbed: str) -> None:
    with stack.begin("up", "--scale", "client=2", **SETTINGS) as up:
        stack.wait_for("round finished round=2 ", "server", PATIENCE_S)
        container, network = stack.containers("client")[0], f"{stack.name}_federation"
        subprocess.run(["docker", "network", "disconnect", network, container.id], check=True)
        with pytest.raises(subprocess.TimeoutExpired):
            # The others wait for it.
            up.wait(_AWAY_S)
        subprocess.run(["docker", "network", "connect", network, container.id], check=True)
        assert up.wait(PATIENCE_S) == 0
    assert stack.read_run()["model_sha256"] == undisturbed


def test_the_next_up_resumes_the_run_of_a_server_that_the_engine_killed(
    stack: Stack, undisturbed: str
) -> None:
    with stack.begin("up", "--scale", "client=2", **SETTINGS) as up:
        stack.wait_for("round finished round=2 ", "server", PATIENCE_S)
        kill_containers(stack.containers("server"))
        assert up.wait(PATIENCE_S) != 0
    stack.run("down")
    resume(stack, undisturbed)


def test_the_next_up_resumes_the_run_of_a_stack_that_was_killed_as_a_whole(
    stack: Stack, undisturbed: str
) -> None:
    with stack.begin("up", "--scale", "client=2", **SETTINGS) as up:
        stack.wait_for("round finished round=2 ", "server", PATIENCE_S)
        kill_containers(stack.containers())
        assert up.wait(PATIENCE_S) != 0
    resume(stack, undisturbed)


def kill(container: Container, process: int) -> None:
    """Kill one of a container's processes from the host, without the engine."""
    os.kill(container.process_ids[process], signal.SIGKILL)


def kill_containers(containers: list[Container]) -> None:
    """Have the engine kill the containers that run."""
    ids = [container.id for container in containers if container.state == "running"]
    subprocess.run(["docker", "kill", *ids], check=True, capture_output=True)


def resume(stack: Stack, undisturbed: str) -> None:
    again = stack.up("--scale", "client=2", **SETTINGS)
    assert again.returncode == 0, again.stdout
    assert "run resumed" in again.stdout
    run = stack.read_run()
    assert (run["model_sha256"], len(run["resumed"])) == (undisturbed, 1)
