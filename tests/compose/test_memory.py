"""Containers with too little memory: a run that cannot fit is rejected, a kill is reported once."""

import subprocess

import pytest

from tests.compose.stack import PATIENCE_S, ROOT, Container, Stack

pytestmark = [pytest.mark.compose, pytest.mark.timeout(1200)]

_TASKS = f"""
services:
  client:
    volumes: ["{ROOT}/tests/federation/tasks:/opt/fedmx/tests/federation/tasks:ro"]
"""
HEAVY = {"TASK": "tests.federation.tasks.heavy_task", "NUM_ROUNDS": 3}
HUNGRY = {"TASK": "tests.federation.tasks.hungry_task", "NUM_ROUNDS": 100_000}


@pytest.fixture
def tasks(stack: Stack) -> Stack:
    """A stack whose clients have the tests' tasks."""
    stack.override = _TASKS
    return stack


def fill_memory(container: Container, megabytes: int) -> None:
    """Fill a container's memory with a file in tmpfs, which counts against the same limit."""
    write = ["dd", "if=/dev/zero", "of=/tmp/filler", "bs=1M", f"count={megabytes}"]
    subprocess.run(["docker", "exec", container.id, *write], capture_output=True, check=True)


def find_errors(log: str) -> list[str]:
    return [line for line in log.splitlines() if " ERROR " in line]


def test_a_run_that_does_not_fit_is_rejected_before_round_1_with_all_sizes(tasks: Stack) -> None:
    up = tasks.up("--scale", "client=2", SERVER_MEMORY="400m", **HEAVY)
    assert up.returncode != 0
    assert tasks.container("server").exit_code == 2
    [line] = find_errors(tasks.log("server"))
    for text in ("SERVER_MEMORY=400m", "2 nodes", "64.2 MB", "STRATEGY=fedavg", "SERVER_MEMORY=562m"):
        assert text in line
    assert "round finished" not in tasks.log("server")
    run = tasks.read_run()
    assert (run["status"], run["exit_code"]) == ("failed", 2)


def test_a_run_with_the_estimated_memory_trains(tasks: Stack) -> None:
    up = tasks.up("--scale", "client=2", SERVER_MEMORY="562m", **HEAVY)
    assert up.returncode == 0, up.stdout
    assert tasks.read_run()["status"] == "finished"


def test_a_server_killed_because_memory_ran_out_reports_it_once_and_its_run_is_resumed(tasks: Stack) -> None:
    with tasks.begin("up", "--scale", "client=2", SERVER_MEMORY="562m", SERVER_WAIT_TIMEOUT=5, **HEAVY) as up:
        tasks.wait_for("listening", "server", PATIENCE_S)
        fill_memory(tasks.container("server"), 350)
        assert up.wait(PATIENCE_S) != 0
    assert tasks.container("server").exit_code == 2
    [line] = find_errors(tasks.log("server"))
    for text in ("SERVER_MEMORY=562m", "2 nodes", "64.2 MB", tasks.read_run()["run_id"]):
        assert text in line
    assert "restart" not in tasks.log("server")
    wait_for_ends(tasks, "client", 5)
    again = tasks.up("--scale", "client=2", **HEAVY)
    assert again.returncode == 0, again.stdout
    assert len(tasks.read_run()["resumed"]) == 1


def test_a_client_killed_because_memory_ran_out_reports_it_once(tasks: Stack) -> None:
    with tasks.begin("up", "--scale", "client=1", MIN_CLIENTS=1, CLIENT_MEMORY="600m", **HUNGRY):
        tasks.wait_for(r"ERROR.* CLIENT_MEMORY=600m", "client", PATIENCE_S)
        wait_for_ends(tasks, "client", 2)
        tasks.run("stop")
    assert len(find_errors(tasks.log("client"))) == 1
    assert "restart" not in tasks.log("client")


def wait_for_ends(stack: Stack, service: str, code: int) -> None:
    """Wait until all containers of a service have ended, and check their exit codes."""
    ids = [container.id for container in stack.containers(service)]
    ended = subprocess.run(
        ["docker", "wait", *ids], capture_output=True, text=True, timeout=PATIENCE_S, check=True
    )
    assert set(ended.stdout.split()) == {str(code)}
