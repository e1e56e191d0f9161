"""Clients in networks of several kinds: published on loopback, without internet access, with a proxy."""

import socket
import subprocess

import pytest

from tests.compose.stack import PATIENCE_S, Stack, find_host_address

pytestmark = pytest.mark.compose

_NO_INTERNET = """
networks:
  federation: {internal: true}
"""
_UNREACHABLE_PROXY = """
x-proxy: &proxy {http_proxy: "http://127.0.0.1:9", https_proxy: "http://127.0.0.1:9", HTTP_PROXY: "http://127.0.0.1:9"}
services:
  server: {environment: *proxy}
  client: {environment: *proxy}
"""


def test_the_port_is_published_on_loopback_alone_by_default(stack: Stack) -> None:
    with stack.begin("up", "server") as up:
        stack.wait_for("listening", "server")
        with socket.create_connection(("127.0.0.1", stack.port), timeout=5):
            pass
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((find_host_address(), stack.port), timeout=5)
        stack.run("stop")
        up.wait(PATIENCE_S)


def test_a_run_needs_no_internet_access(stack: Stack) -> None:
    stack.override = _NO_INTERNET
    up = stack.up("--scale", "client=2", NUM_ROUNDS=1, LOCAL_EPOCHS=1)
    assert up.returncode == 0, up.stdout
    network = subprocess.run(
        ["docker", "network", "inspect", f"{stack.name}_federation", "--format", "{{.Internal}}"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert network.stdout.strip() == "true"
    assert stack.read_history()[-1]["evaluate"]["metrics"]["accuracy"] > 0.9


def test_a_proxy_in_the_environment_is_not_used(stack: Stack) -> None:
    stack.override = _UNREACHABLE_PROXY
    up = stack.up("--scale", "client=2", NUM_ROUNDS=1, LOCAL_EPOCHS=1)
    assert up.returncode == 0, up.stdout
    assert "HTTP_PROXY=http://127.0.0.1:9" in stack.containers("client")[0].facts["Config"]["Env"]
    assert stack.read_run()["status"] == "finished"
