"""`.env` against the settings classes, and what compose makes of both files."""

import dataclasses
import itertools
import json
import re
import subprocess
from typing import Any

import pytest

from fedmx import __version__
from fedmx.settings import ClientSettings, ServerSettings, load
from tests.compose.conftest import find_fault
from tests.compose.stack import ROOT

# What is another in containers, and why.
IN_CONTAINERS = {
    "LISTEN_ADDRESS": "0.0.0.0:8080",  # whom the host lets in is SERVER_PUBLISH's affair
    "SERVER_ADDRESS": "server:8080",  # the service's name
    "RUNS_DIR": "/runs",  # the volume
    "RETRY_AFTER": "10",  # the engine restarts what failed
}
OF_COMPOSE_ALONE = {
    *("CLIENTS", "SERVER_PUBLISH", "FEDMX_VERSION", "BASE_IMAGE"),
    *("SERVER_CPUS", "SERVER_MEMORY", "CLIENT_CPUS", "CLIENT_MEMORY"),
}


def read_env() -> dict[str, str]:
    lines = (ROOT / ".env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def names_of(kind: type) -> set[str]:
    return {field.name.upper() for field in dataclasses.fields(kind)}


def test_env_has_every_setting_of_the_programs_and_nothing_else() -> None:
    assert read_env().keys() - OF_COMPOSE_ALONE == names_of(ServerSettings) | names_of(ClientSettings)


@pytest.mark.parametrize("kind", [ServerSettings, ClientSettings])
def test_env_gives_the_programs_their_defaults_but_where_containers_need_others(kind: type) -> None:
    given = {name: text for name, text in read_env().items() if name not in IN_CONTAINERS}
    assert load(kind, environ=given) == kind()
    assert {name: read_env()[name] for name in IN_CONTAINERS} == IN_CONTAINERS
    load(kind, environ=read_env())


def test_every_line_of_env_has_a_line_of_meaning() -> None:
    lines = (ROOT / ".env").read_text().splitlines()
    for before, line in itertools.pairwise(lines):
        if "=" in line and not line.startswith("#"):
            assert re.match(r"# [^-]", before), line


def test_settings_and_env_use_the_same_words() -> None:
    meanings = {f.name.upper(): f.metadata["meaning"] for f in dataclasses.fields(ServerSettings)}
    lines = (ROOT / ".env").read_text().splitlines()
    said = {line.split("=")[0]: before[2:] for before, line in itertools.pairwise(lines) if "=" in line}
    for name, meaning in meanings.items():
        assert said[name].startswith(meaning), name


def test_env_names_the_version() -> None:
    assert read_env()["FEDMX_VERSION"] == __version__


def config(*options: str, **variables: str) -> dict[str, Any]:
    if fault := find_fault():
        pytest.skip(fault)
    printed = subprocess.run(
        ["docker", "compose", *options, "config", "--format", "json"],
        cwd=ROOT,
        env={
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": "/root",
            **variables,
        },
        capture_output=True,
        text=True,
        check=True,
    )
    made: dict[str, Any] = json.loads(printed.stdout)
    return made


@pytest.mark.compose
class TestConfig:
    def test_plain_up_has_no_gpu_and_the_gpu_profile_reserves_all(self) -> None:
        assert set(config()["services"]) == {"server", "client", "outcome"}
        services = config("--profile", "gpu")["services"]
        assert set(services) == {"server", "client", "client-gpu", "outcome"}
        reserving = {
            name for name, s in services.items() if "reservations" in s.get("deploy", {}).get("resources", {})
        }
        assert reserving == {"client-gpu"}
        [device] = services["client-gpu"]["deploy"]["resources"]["reservations"]["devices"]
        assert device == {"driver": "nvidia", "count": -1, "capabilities": ["gpu", "compute", "utility"]}

    def test_clients_can_be_scaled_and_wait_for_a_healthy_server(self) -> None:
        services = config("--profile", "gpu")["services"]
        for name in ("client", "client-gpu"):
            assert not {"container_name", "ports"} & services[name].keys()
            assert services[name]["depends_on"]["server"]["condition"] == "service_healthy"
            assert services[name]["deploy"]["replicas"] == 2
        assert services["outcome"]["depends_on"]["server"]["condition"] == "service_completed_successfully"

    def test_every_setting_reaches_the_program_that_reads_it(self) -> None:
        services = config("--profile", "gpu")["services"]
        expected = read_env()
        for service, kind in (
            ("server", ServerSettings),
            ("client", ClientSettings),
            ("client-gpu", ClientSettings),
        ):
            assert services[service]["environment"] == {name: expected[name] for name in names_of(kind)}

    def test_the_shell_wins_over_env(self) -> None:
        services = config(NUM_ROUNDS="7", SERVER_PUBLISH="0.0.0.0:9000", CLIENTS="5")["services"]
        assert services["server"]["environment"]["NUM_ROUNDS"] == "7"
        [port] = services["server"]["ports"]
        assert (port["host_ip"], port["published"], port["target"]) == ("0.0.0.0", "9000", 8080)  # noqa: S104
        assert services["client"]["deploy"]["replicas"] == 5

    def test_the_server_is_published_on_loopback_alone(self) -> None:
        [port] = config()["services"]["server"]["ports"]
        assert (port["host_ip"], port["published"]) == ("127.0.0.1", "8080")

    def test_every_service_is_confined_and_pinned(self) -> None:
        for name, service in config("--profile", "gpu")["services"].items():
            assert service["read_only"], name
            assert service["cap_drop"] == ["ALL"]
            assert service["security_opt"] == ["no-new-privileges:true"]
            assert service["init"]
            assert service["tmpfs"] == ["/tmp"]  # noqa: S108
            assert service["platform"] == "linux/amd64"
            assert service["logging"]["options"] == {"max-file": "3", "max-size": "10m"}
            assert service["stop_grace_period"] == "10s"
            assert service["image"].endswith(f":{__version__}")
            assert service["restart"] == ("no" if name == "outcome" else "on-failure:5")
