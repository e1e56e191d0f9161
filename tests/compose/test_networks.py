"""Where clients may be: in another project, at the host's address, without an outside, behind a proxy."""

import socket
import subprocess

import pytest

from tests.compose.stack import Stack

pytestmark = pytest.mark.compose

_NO_OUTSIDE = """
networks:
  federation: {internal: true}
"""
_PROXY_THAT_IS_NOT_THERE = """
x-proxy: &proxy {http_proxy: "http://127.0.0.1:9", https_proxy: "http://127.0.0.1:9", HTTP_PROXY: "http://127.0.0.1:9"}
services:
  server: {environment: *proxy}
  client: {environment: *proxy}
"""


def find_host_address() -> str:
    """Give the address by which this machine is known on its network."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))  # nothing is sent: it only chooses a route
        address: str = probe.getsockname()[0]
        return address


def test_a_client_of_another_project_takes_part_through_the_published_port(
    stack: Stack, other_stack: Stack
) -> None:
    host = find_host_address()
    stack.environment["SERVER_PUBLISH"] = f"{host}:{stack.port}"
    with stack.begin("up", "--scale", "client=1", NUM_ROUNDS=1) as up:
        stack.wait_for(r"node joined", "server")
        other = other_stack.run("up", "--no-deps", "client", SERVER_ADDRESS=f"{host}:{stack.port}", CLIENTS=1)
        assert up.wait(60) == 0
    assert other.returncode == 0, other.stdout
    names = {stack.container("client").node, other_stack.container("client").node}
    [line] = stack.read_history()
    assert {node["name"] for node in line["nodes"]} == names
    assert [container.service for container in other_stack.containers()] == ["client"]


def test_the_port_is_published_on_loopback_alone_by_default(stack: Stack) -> None:
    with stack.begin("up", "server") as up:
        stack.wait_for("listening", "server")
        with socket.create_connection(("127.0.0.1", stack.port), timeout=5):
            pass
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((find_host_address(), stack.port), timeout=5)
        stack.run("stop")
        up.wait(20)


def test_a_whole_run_needs_nothing_from_the_outside(stack: Stack) -> None:
    stack.override = _NO_OUTSIDE
    up = stack.up("--scale", "client=2")
    assert up.returncode == 0, up.stdout
    network = subprocess.run(
        ["docker", "network", "inspect", f"{stack.name}_federation", "--format", "{{.Internal}}"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert network.stdout.strip() == "true"
    assert stack.read_history()[-1]["evaluate"]["accuracy"] >= 0.97


def test_a_proxy_in_the_environment_is_not_dialled_through(stack: Stack) -> None:
    stack.override = _PROXY_THAT_IS_NOT_THERE
    up = stack.up("--scale", "client=2", NUM_ROUNDS=1)
    assert up.returncode == 0, up.stdout
    assert "HTTP_PROXY=http://127.0.0.1:9" in stack.containers("client")[0].facts["Config"]["Env"]
    assert stack.read_run()["status"] == "finished"
