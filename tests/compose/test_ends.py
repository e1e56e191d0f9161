"""How a stack ends: `up` fails with the run, invalid settings are not retried, signals end it in time."""

import os
import signal
import subprocess
import time

import pytest

from server.record import checkpoint
from tests.compose.stack import PATIENCE_S, ROOT, Stack

pytestmark = [pytest.mark.compose, pytest.mark.timeout(1200)]

_FAILING_TASK = """
services:
  client:
    volumes: ["{folder}/tasks:/opt/fedmx/given:ro"]
"""
_A_STRANGER = f"""
services:
  stranger:
    extends: {{file: {ROOT}/docker-compose.yml, service: client}}
    environment: {{TASK: no.such}}
    deploy: {{replicas: 1}}
"""
_RAISE_WHEN_TRAINED = """
def raise_when_trained(outputs, labels):
    if len(labels) > 50:
        raise RuntimeError("the columns do not fit")
    return outputs.sum(axis=1)
"""
_FOLDER_OF_ANOTHER_USER = """
services:
  server:
    volumes: !override ["{folder}:/runs"]
"""


def test_invalid_settings_are_reported_and_not_retried(stack: Stack) -> None:
    up = stack.up("--scale", "client=2", BATCH_SIZE="abc")
    assert up.returncode != 0
    assert "BATCH_SIZE='abc': expected an integer of at least 1" in up.stdout
    server = stack.container("server")
    assert (server.state, server.exit_code) == ("exited", 2)


def test_invalid_server_names_are_reported_before_anything_is_created(stack: Stack) -> None:
    up = stack.up("--scale", "client=2", SERVER_NAMES="fl.example.org:8080")
    assert up.returncode != 0
    assert "SERVER_NAMES='fl.example.org:8080': expected host names or addresses" in up.stdout
    assert (stack.container("pki").exit_code, stack.container("server").state) == (2, "created")


def test_invalid_settings_of_a_client_are_reported(stack: Stack) -> None:
    up = stack.run("up", "--no-deps", "client", DEVICE="quantum", CLIENTS=1)
    assert "DEVICE='quantum': expected auto, cpu or gpu" in up.stdout
    client = stack.container("client")
    assert (client.state, client.exit_code) == ("exited", 2)


def test_up_fails_with_a_failed_run_and_every_container_ends(stack: Stack) -> None:
    tasks = stack.folder / "tasks"
    tasks.mkdir()
    (tasks / "__init__.py").touch()
    (tasks / "failing.py").write_text(
        "from client.mx import autograd\n"
        "from client.tasks.mnist import build_model, load_data\n"
        "def loss():\n"
        "    return compare\n"
        "def compare(outputs, labels):\n"
        "    if autograd.is_recording() and len(labels) == 100:\n"
        "        raise RuntimeError('the columns do not fit')\n"
        "    return outputs.sum(axis=1)\n"
    )
    stack.override = _FAILING_TASK.format(folder=stack.folder)
    up = stack.up("--scale", "client=2", TASK="given.failing")
    assert up.returncode != 0
    assert (
        "TASK=given.failing: the loss raised RuntimeError: the columns do not fit (failing.py:7)" in up.stdout
    )
    assert "Traceback" not in up.stdout
    deadline = time.monotonic() + PATIENCE_S
    while {container.state for container in stack.containers() if container.service != "outcome"} != {
        "exited"
    }:
        assert time.monotonic() < deadline, stack.run("ps", "--all").stdout
    ends = {(container.service, container.exit_code) for container in stack.containers()}
    assert ends == {("pki", 0), ("server", 4), ("client", 4), ("outcome", 0)}
    run = stack.read_run()
    assert (run["status"], run["exit_code"]) == ("failed", 4)
    # `latest` is one of the two names.
    assert len(list(stack.copy_runs().parent.glob("*/run.json"))) == 2


def test_a_failed_run_does_not_delay_the_next_one(stack: Stack) -> None:
    tasks = stack.folder / "tasks"
    tasks.mkdir()
    (tasks / "__init__.py").touch()
    whole = "from client.tasks.mnist import build_model, load_data\n"
    raising = f"def loss():\n    return raise_when_trained\n{_RAISE_WHEN_TRAINED}"
    stack.override = _FAILING_TASK.format(folder=stack.folder)
    settings = {"TASK": "given.changing", "NUM_ROUNDS": 1, "LOCAL_EPOCHS": 1}
    for text, code in ((whole + raising, 4), (whole, 0)):
        (tasks / "changing.py").write_text(text)
        up = stack.up("--scale", "client=2", **settings)
        assert stack.container("server").exit_code == code, up.stdout
        assert (up.returncode == 0) == (code == 0)


def test_up_fails_with_too_few_clients(stack: Stack) -> None:
    up = stack.up("--scale", "client=1", CLIENT_WAIT_TIMEOUT=20)
    assert up.returncode != 0
    assert "1 of 2 nodes were ready within 20 s (CLIENT_WAIT_TIMEOUT)" in up.stdout
    assert stack.container("server").exit_code == 3


def test_make_up_stops_the_clients_of_a_server_that_failed(stack: Stack) -> None:
    with stack.begin_make("up", NUM_ROUNDS=500, SERVER_WAIT_TIMEOUT=100_000) as up:
        stack.wait_for(r"round finished round=1 ", "server", PATIENCE_S)
        os.kill(stack.container("server").process_ids[0], signal.SIGKILL)
        assert up.wait(PATIENCE_S) == 2
    ends = {(container.service, container.state, container.exit_code) for container in stack.containers()}
    assert ends >= {("server", "exited", 137), ("client", "exited", 143)}


def test_one_of_three_clients_with_another_task_neither_fails_nor_delays_the_others(stack: Stack) -> None:
    settings = {"NUM_ROUNDS": 2, "LOCAL_EPOCHS": 1, "MIN_CLIENTS": 2}
    stack.override = _A_STRANGER
    up = stack.up("--scale", "client=2", **settings)
    assert up.returncode == 0, up.stdout
    stranger = stack.container("stranger")
    assert (stranger.state, stranger.exit_code) == ("exited", 2)
    errors = [line for line in stack.log("stranger").splitlines() if " ERROR " in line]
    assert len(errors) == 1
    assert "TASK=no.such" in errors[0]


def test_up_fails_with_fewer_clients_than_needed_and_each_program_logs_one_error(stack: Stack) -> None:
    stack.override = _A_STRANGER
    up = stack.up("--scale", "client=1", MIN_CLIENTS=2, CLIENT_WAIT_TIMEOUT=20)
    assert up.returncode != 0
    assert (stack.container("server").exit_code, stack.container("stranger").exit_code) == (3, 2)
    for service in ("server", "stranger"):
        assert stack.log(service).count(" ERROR ") == 1


def test_clients_without_a_server_or_certificates_end_at_once_with_one_error_each(stack: Stack) -> None:
    up = stack.run("up", "--no-deps", "--scale", "client=2", "client")
    assert up.stdout.count(" ERROR ") == 2
    ends = [(container.service, container.state, container.exit_code) for container in stack.containers()]
    assert ends == [("client", "exited", 2)] * 2
    # Plain `up` of named services ignores the exit codes of their containers.
    with_code = ["--exit-code-from", "client"]
    assert stack.run("up", "--no-deps", "--scale", "client=1", *with_code, "client").returncode == 2


def test_stop_ends_both_programs_in_time_with_the_exit_code_of_the_signal(stack: Stack) -> None:
    with stack.begin("up", "--scale", "client=2", NUM_ROUNDS=500) as up:
        stack.wait_for("round finished round=1 ", "server")
        stopped = stack.run("stop")
        up.wait(PATIENCE_S)
    assert stopped.returncode == 0
    ends = {(container.service, container.exit_code) for container in stack.containers()}
    assert ends >= {("server", 143), ("client", 143)}
    run, folder = stack.read_run(), stack.folder / "runs" / "latest" / checkpoint.FOLDER
    assert run["status"] == "interrupted"
    assert checkpoint.load(checkpoint.path_of(folder, run["rounds"])).facts.round == run["rounds"]
    assert "Traceback" not in stack.log()


def test_the_first_interrupt_of_up_stops_everything(stack: Stack) -> None:
    with stack.begin("up", "--scale", "client=2", NUM_ROUNDS=500) as up:
        stack.wait_for("round finished round=1 ", "server")
        up.send_signal(signal.SIGINT)
        assert up.wait(PATIENCE_S) != 0
    ends = {(container.service, container.state, container.exit_code) for container in stack.containers()}
    assert ends >= {("server", "exited", 143), ("client", "exited", 143)}
    assert stack.read_run()["status"] == "interrupted"


def test_a_folder_that_cannot_be_written_is_reported_before_the_first_round(stack: Stack) -> None:
    folder = stack.folder / "of-another"
    folder.mkdir(mode=0o755)
    stack.override = _FOLDER_OF_ANOTHER_USER.format(folder=folder)
    up = stack.up("--scale", "client=1")
    assert up.returncode != 0
    line = "RUNS_DIR=/runs: Permission denied; expected a folder that this user (uid 10001) can write"
    assert line in up.stdout
    assert stack.container("server").exit_code == 2
    assert list(folder.iterdir()) == []


def test_make_gpu_reports_in_one_line_that_the_engine_has_no_gpu(engine: None) -> None:
    runtimes = subprocess.run(["docker", "info"], capture_output=True, text=True, check=True).stdout
    if "nvidia" in runtimes:
        pytest.skip("this engine has GPUs")
    made = subprocess.run(["make", "gpu"], capture_output=True, text=True, check=False)
    assert made.returncode == 2
    line, end = made.stderr.splitlines()
    assert line.startswith("make gpu: ")
    assert "NVIDIA" in line
    assert end.endswith("Error 2")
