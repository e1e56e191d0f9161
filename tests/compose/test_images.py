"""The contents of the images, and what a container is allowed to do."""

import os
import re
import signal
import subprocess
from collections.abc import Iterator

import pytest

from fedmx import __version__
from tests.compose.images import (
    inspect,
    list_packages,
    list_tools,
    list_unmet_requirements,
    read_lock,
    run_container,
    run_in,
)
from tests.compose.stack import PATIENCE_S, Stack, name_image

pytestmark = [pytest.mark.compose, pytest.mark.usefixtures("images")]

SERVER, CLIENT = name_image("server"), name_image("client")
BASE = "debian:bookworm-slim"
# The program of each image, and the name of its lock.
PROGRAMS = {SERVER: "server", CLIENT: "client"}


@pytest.mark.parametrize("image", [SERVER, CLIENT], ids=["server", "client"])
class TestBothImages:
    def test_the_packages_are_those_of_the_lock_and_are_compatible(self, image: str) -> None:
        assert list_packages(image) == read_lock(PROGRAMS[image])
        assert list_unmet_requirements(image) == []

    def test_the_user_is_unprivileged_and_can_write_to_tmp_alone(self, image: str) -> None:
        assert run_in(image, "id", "-u").strip() == "10001"
        # It fails in folders that the user cannot read.
        find = r"find / -xdev \( -type f -o -type d \) -writable 2>/dev/null || true"
        writable = run_in(image, "sh", "-c", find)
        of_pki = {"/pki", "/pki/server", "/pki/sites", "/pki/sites/local"}
        assert set(writable.split()) <= {"/runs", "/tmp", *of_pki}  # noqa: S108 - named, not used

    def test_no_private_key_is_in_it(self, image: str) -> None:
        script = (
            "find / -xdev -type f -name '*.key'; find /pki /certs -type f 2>/dev/null;"
            " grep -rlsE 'BEGIN( EC)? PRIVATE KEY' /etc /opt/fedmx /pki; true"
        )
        # Root can read every file.
        found = run_container(image, "sh", "-c", script, options=["--user", "0:0"])
        assert (found.stdout, found.stderr, found.returncode) == ("", "", 0)

    def test_no_tool_that_builds_or_downloads_is_left(self, image: str) -> None:
        assert list_tools(image) == ""

    def test_it_starts_by_exec_with_flowers_telemetry_turned_off(self, image: str) -> None:
        config = inspect(image)["Config"]
        assert config["Cmd"][:5] == ["python", "-S", "-m", "fedmx.supervisor", PROGRAMS[image]]
        assert {"PYTHONUNBUFFERED=1", "FLWR_TELEMETRY_ENABLED=0", "FLWR_DISABLE_UPDATE_CHECK=1"} <= set(
            config["Env"]
        )
        assert config["Labels"]["org.opencontainers.image.version"] == __version__

    def test_the_launcher_is_not_in_it(self, image: str) -> None:
        assert "local" not in run_in(image, "ls", "/opt/fedmx").split()

    def test_its_size_above_the_base_is_bounded(self, image: str) -> None:
        megabytes = (inspect(image)["Size"] - inspect(BASE)["Size"]) / 1e6
        assert megabytes <= {SERVER: 350, CLIENT: 620}[image]


def test_the_server_has_no_mxnet_and_the_client_imports_both() -> None:
    run_in(CLIENT, "python", "-c", "import client.mx, flwr, mxnet")
    with pytest.raises(subprocess.CalledProcessError) as failure:
        run_in(SERVER, "python", "-c", "import flwr, mxnet")
    assert "No module named 'mxnet'" in failure.value.stderr


def test_mxnets_library_finds_its_dependencies() -> None:
    libraries = run_in(CLIENT, "sh", "-c", "ldd /opt/venv/lib/python3.11/site-packages/mxnet/libmxnet.so")
    assert "libgomp.so.1" in libraries
    assert "not found" not in libraries


def test_byte_code_of_both_programs_is_in_the_images() -> None:
    for image, modules in (
        (SERVER, "server.serving, server.authority.command, fedmx.probe"),
        (CLIENT, "client.__main__, client.app, client.messages"),
    ):
        listing = run_in(image, "sh", "-c", f"python -v -c 'import {modules}' 2>&1")
        compiled_again = re.findall(r"# code object from '?(/opt\S+\.py)'?$", listing, re.MULTILINE)
        assert compiled_again == []


@pytest.fixture
def serving(stack: Stack) -> Iterator[Stack]:
    with stack.begin("up", "server") as up:
        stack.wait_for("listening", "server")
        yield stack
        stack.run("kill")
        up.wait(PATIENCE_S)


def check_health(stack: Stack) -> int:
    """Run the health check of the image and return its exit code."""
    [_, command] = inspect(SERVER)["Config"]["Healthcheck"]["Test"]
    return stack.run("exec", "--no-TTY", "server", "sh", "-c", command).returncode


def find_mark(stack: Stack) -> str:
    """Describe the file that makes further health checks cheap, if a probe has written to it."""
    script = "test -s /tmp/serving && stat --format '%i %y' /tmp/serving"
    return stack.run("exec", "--no-TTY", "server", "sh", "-c", script).stdout


def test_the_server_is_healthy_only_while_it_serves(serving: Stack) -> None:
    assert check_health(serving) == 0
    before = find_mark(serving)
    assert before
    *_, program = serving.container("server").process_ids
    os.kill(program, signal.SIGKILL)
    serving.wait_for("crashed, restarting", "server")
    serving.wait_for("(?s)listening.*listening", "server")
    while check_health(serving) != 0:
        pass
    after = find_mark(serving)
    assert after
    assert after != before


def test_a_container_has_only_what_compose_grants(serving: Stack) -> None:
    facts = serving.container("server").facts["HostConfig"]
    assert facts["ReadonlyRootfs"]
    assert facts["CapDrop"] == ["ALL"]
    assert facts["SecurityOpt"] == ["no-new-privileges:true"]
    assert (facts["Memory"], facts["NanoCpus"], facts["PidsLimit"]) == (2 * 1024**3, 10**9, 512)
    assert facts["Init"]
    assert facts["RestartPolicy"] == {"Name": "no", "MaximumRetryCount": 0}
    assert facts["LogConfig"] == {"Type": "json-file", "Config": {"max-file": "3", "max-size": "10m"}}


def test_the_threads_of_a_client_are_bounded_by_its_cpus(stack: Stack) -> None:
    with stack.begin("up", "--scale", "client=1", CLIENT_THREADS="auto", CLIENT_CPUS="0.9") as up:
        assert stack.wait_for("threads=[0-9]+", "client") == "threads=1"
        stack.run("kill")
        up.wait(PATIENCE_S)
