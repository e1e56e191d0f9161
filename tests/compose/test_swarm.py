"""A stack of a swarm trains, survives updates and failures in a run, and leaves nothing behind."""

import re
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.compose.conftest import make_stack
from tests.compose.stack import ROOT, name_image
from tests.compose.swarm import SwarmStack, docker, is_in_swarm

pytestmark = pytest.mark.compose

ENDLESS = {"LOCAL_EPOCHS": 1, "BATCH_SIZE": 3000, "NUM_ROUNDS": 5000}
"""A run that a test ends by `finish`, whatever else the machine does."""
_OTHER_PROTOCOL = r"""
FROM {image}
USER root
RUN sed -i 's/^PROTOCOL_VERSION = .*/PROTOCOL_VERSION = 99/' fedmx/protocol/control.py
USER 10001:10001
"""


def test_an_engine_without_a_swarm_is_reported_with_the_command_that_makes_one(
    images: None, tmp_path_factory: pytest.TempPathFactory
) -> None:
    if is_in_swarm():
        pytest.skip("this engine is in a swarm")
    stack = make_stack(tmp_path_factory.mktemp("none"))
    try:
        done = stack.make("swarm")
        assert done.returncode == 2
        assert "docker swarm init" in done.stderr.splitlines()[0]
    finally:
        stack.end()


@pytest.fixture(scope="module")
def swarm_stack(images: None, swarm: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SwarmStack]:
    stack = make_stack(tmp_path_factory.mktemp("swarm"))
    made = SwarmStack(stack)
    yield made
    made.remove()
    stack.end()


def finish(swarm_stack: SwarmStack, more: int, **settings: object) -> dict[str, Any]:
    """Deploy a run again so that it ends after some more rounds, wait for its end, and return it."""
    rounds = int(swarm_stack.show_run()["rounds"]) + more
    deployed = swarm_stack.deploy(**{**ENDLESS, "NUM_ROUNDS": rounds, **settings})
    assert deployed.returncode == 0, deployed.stderr
    run = swarm_stack.wait_for_end()
    assert (run["status"], run["rounds"]) == ("finished", rounds)
    return run


@pytest.fixture(scope="module")
def finished(swarm_stack: SwarmStack) -> SwarmStack:
    deployed = swarm_stack.deploy(JOIN_WINDOW="")
    assert deployed.returncode == 0, deployed.stderr
    swarm_stack.wait_for_end()
    return swarm_stack


def test_a_stack_trains_the_same_model_as_without_containers(finished: SwarmStack) -> None:
    run = finished.show_run()
    assert (run["status"], run["rounds"]) == ("finished", 3)
    [digest] = set(re.findall(r"model_sha256: ([0-9a-f]{64})", (ROOT / "README.md").read_text()))
    assert run["model_sha256"] == digest
    assert "Traceback" not in finished.read_log("server") + finished.read_log("client")


def test_each_client_is_named_after_its_slot(finished: SwarmStack) -> None:
    nodes = {node["name"] for node in finished.show_run()["nodes"]}
    assert nodes == {"local.client-1", "local.client-2"}


def test_containers_have_no_capability_a_read_only_root_and_limits(finished: SwarmStack) -> None:
    for service in ("server", "client"):
        for task in finished.list_newest(service):
            container = finished.find_container(task)
            host = container["HostConfig"]
            assert (host["CapDrop"], host["ReadonlyRootfs"], host["PidsLimit"]) == (["ALL"], True, 512)
            assert (host["Memory"], host["NanoCpus"]) == (2 * 1024**3, 10**9)
            assert container["Config"]["User"] == "10001:10001"
            assert {mount["Target"] for mount in host["Mounts"]} == {
                "/tmp",  # noqa: S108
                *(["/runs"] if service == "server" else []),
            }


def test_a_run_outlives_an_update_that_is_refused_and_one_that_is_not(swarm_stack: SwarmStack) -> None:
    image = name_image("client", swarm_stack.stack.name)
    other, better = f"{image}-other", f"{image}-better"
    build = ["docker", "build", "--quiet", "--tag", other, "-"]
    subprocess.run(build, input=_OTHER_PROTOCOL.format(image=image), text=True, check=True)
    docker("tag", image, better)
    try:
        assert swarm_stack.deploy(**ENDLESS).returncode == 0
        swarm_stack.wait_for_log("round finished round=1 ")
        before = [task.id for task in swarm_stack.list_newest("client")]
        assert swarm_stack.deploy(**ENDLESS).returncode == 0
        assert [task.id for task in swarm_stack.list_newest("client")] == before

        assert swarm_stack.deploy(CLIENT_IMAGE=other, **ENDLESS).returncode == 0
        message = swarm_stack.wait_for_update("client", "paused", other)
        assert "failure" in message
        assert re.search(r"protocol version.*99", swarm_stack.read_log("client"))
        running = [task for task in swarm_stack.list_tasks("client") if task.is_running]
        assert image in [task.image for task in running]

        assert swarm_stack.deploy(CLIENT_IMAGE=better, **ENDLESS).returncode == 0
        while {task.image for task in swarm_stack.wait_for("client", "Running")} != {better}:
            time.sleep(0.2)
        # More rounds than are done until the server has stopped.
        run = finish(swarm_stack, 30, CLIENT_IMAGE=better)
        assert {task.image for task in swarm_stack.list_newest("client")} == {better}
    finally:
        docker("service", "rm", *(swarm_stack.name(one) for one in ("client", "server")))
        for each in (other, better):
            subprocess.run(["docker", "image", "rm", "--force", each], capture_output=True, check=False)
    assert {node["name"]: node["rounds"] for node in run["nodes"]} == {
        "local.client-1": run["rounds"],
        "local.client-2": run["rounds"],
    }


def test_a_client_that_is_killed_is_replaced_and_a_server_that_is_killed_resumes_with_the_next_deployment(
    swarm_stack: SwarmStack,
) -> None:
    assert swarm_stack.deploy(**ENDLESS).returncode == 0
    swarm_stack.wait_for_log("round finished round=1 ")
    leased = re.findall(r"leased partition=(\d+) .*node=(\S+)", swarm_stack.read_log("server"))
    partitions = {node: partition for partition, node in leased}
    client = swarm_stack.list_newest("client")[0]
    docker("kill", swarm_stack.find_container(client)["Id"])
    swarm_stack.wait_for_log(r"node left node=local\.client-1[\s\S]*node ready node=local\.client-1")
    [server] = swarm_stack.list_newest("server")
    docker("kill", swarm_stack.find_container(server)["Id"])
    [ended] = swarm_stack.wait_for("server", "Failed")
    assert ended.id == server.id

    # Another certificate is another secret, and another server.
    assert swarm_stack.stack.make("pki-server", "SERVER_NAMES=fl.example.org").returncode == 0
    run = finish(swarm_stack, 2)
    assert "run resumed" in swarm_stack.read_log("server")
    assert {node["name"]: str(node["partition"]) for node in run["nodes"]} == partitions


def test_a_server_with_a_wrong_setting_is_reported_with_its_reason(swarm_stack: SwarmStack) -> None:
    done = swarm_stack.deploy(BATCH_SIZE="x")
    assert done.returncode == 2
    assert "BATCH_SIZE='x'" in done.stderr
    assert len(swarm_stack.list_tasks("server")) == 1


def test_a_deployment_with_a_mistake_changes_nothing(swarm_stack: SwarmStack) -> None:
    swarm_stack.remove()
    for mistake in ({"CLIENTS": 0}, {"CLIENTS": "two"}, {"LEARNING_RAT": 1}):
        done = swarm_stack.deploy(**mistake)
        assert done.returncode == 2, mistake
        [name] = mistake
        assert name in done.stderr
    direct = ["docker", "stack", "deploy", "-c", "deploy/swarm/stack.yml", swarm_stack.stack.name]
    done = subprocess.run(direct, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert swarm_stack.list_left() == []


def test_a_stack_that_is_removed_leaves_its_runs_alone(swarm_stack: SwarmStack) -> None:
    runs = swarm_stack.list_runs()
    assert swarm_stack.deploy(CLIENTS=3).returncode == 0
    assert len(swarm_stack.list_newest("client")) == 3
    swarm_stack.remove()
    assert swarm_stack.list_left() == []
    assert swarm_stack.list_runs()[-len(runs) :] == runs
