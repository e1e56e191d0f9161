"""`.env` and the settings classes agree, and compose resolves both files as documented."""

import dataclasses
import itertools
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from fedmx import __version__
from fedmx.deployment_settings import PkiSettings
from fedmx.settings import ClientSettings, ServerSettings, load
from tests.compose.config import config, names_of
from tests.compose.stack import ROOT

# Defaults that differ in containers: SERVER_PUBLISH restricts access to the port, the server is a service,
# and runs are on a volume.
IN_CONTAINERS = {
    "LISTEN_ADDRESS": "0.0.0.0:8080",
    "STATUS_ADDRESS": "0.0.0.0:8081",
    "SERVER_ADDRESS": "server:8080",
    "RUNS_DIR": "/runs",
}
# Other names of settings, which have no lines in .env.
ALIASES = {"ROUNDS"}
# Paths of volumes.
IN_THE_COMPOSE_FILE = {"CERTS_DIR": "/certs", "PKI_DIR": "/pki"}
# Settings of the server that bundles contain.
OF_BUNDLES = {"MAX_MODEL_BYTES", "LINK_SECURITY"}
OF_COMPOSE_ALONE = {
    *("CLIENTS", "SERVER_PUBLISH", "STATUS_PUBLISH", "BASE_IMAGE", "TASK_REQUIREMENTS"),
    *("SUPERNODES", "SUPERLINK_PUBLISH"),
    *("SERVER_CPUS", "SERVER_MEMORY", "CLIENT_CPUS", "CLIENT_MEMORY"),
}


def read_env() -> dict[str, str]:
    lines = (ROOT / ".env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def test_env_has_every_setting_of_the_programs_and_nothing_else() -> None:
    of_programs = names_of(ServerSettings) | names_of(ClientSettings) | names_of(PkiSettings)
    assert read_env().keys() - OF_COMPOSE_ALONE == of_programs - IN_THE_COMPOSE_FILE.keys()


@pytest.mark.parametrize("kind", [ServerSettings, ClientSettings, PkiSettings])
def test_env_has_the_defaults_except_where_containers_need_others(kind: type) -> None:
    given = {name: text for name, text in read_env().items() if name not in IN_CONTAINERS}
    assert load(kind, environ=given) == kind()
    assert {name: read_env()[name] for name in IN_CONTAINERS} == IN_CONTAINERS
    load(kind, environ=read_env())


def test_every_setting_in_env_is_explained() -> None:
    lines = (ROOT / ".env").read_text().splitlines()
    for before, line in itertools.pairwise(lines):
        if "=" in line and not line.startswith("#"):
            assert re.match(r"# [^-]", before), line


def test_settings_and_env_have_the_same_explanations() -> None:
    meanings = {
        field.name.upper(): field.metadata["meaning"]
        for kind in (ServerSettings, PkiSettings)
        for field in dataclasses.fields(kind)
        if field.name.upper() not in IN_THE_COMPOSE_FILE
    }
    lines = (ROOT / ".env").read_text().splitlines()
    explained = {line.split("=")[0]: before[2:] for before, line in itertools.pairwise(lines) if "=" in line}
    for name, meaning in meanings.items():
        assert explained[name].startswith(meaning), name


def test_env_names_the_version() -> None:
    assert read_env()["FEDMX_VERSION"] == __version__


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["bundle", "SERVER_ADDRESS=a:1"], "make bundle: SITE is not set; expected the site's name"),
        (["bundle", "SITE=a"], "make bundle: SERVER_ADDRESS is not set; expected host:port by which"),
        (["bundle", "SITE=a", "SERVER_ADDRESS=a:1", "REQUEST=no"], "make bundle: REQUEST=no: cannot be read"),
        (["pki-site"], "make pki-site: NAME is not set; expected the name of the site"),
        (["pki-revoke"], "make pki-revoke: NAME is not set; expected the name of the site"),
        (["pki-sign"], "make pki-sign: NAME is not set"),
        (["pki-sign", "NAME=a"], "make pki-sign: REQUEST is not set; expected the file that `client pki"),
        (["client", "BUNDLE=no"], "make client: no bundle in no; expected one that `make bundle` wrote"),
        (["client", "BUNDLE=."], "make client: no bundle in .; expected one that `make bundle` wrote"),
        (["client"], "make client: no bundle in bundle; expected one that `make bundle` wrote"),
    ],
)  # fmt: skip
def test_make_reports_a_missing_variable_in_one_line(arguments: list[str], line: str) -> None:
    made = subprocess.run(
        ["make", *arguments],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )
    found, end = made.stderr.splitlines()
    assert found.startswith(line)
    assert end.endswith("Error 2")
    assert made.returncode == 2


@pytest.mark.compose
class TestConfig:
    def test_plain_up_has_no_gpu_and_the_gpu_profile_reserves_all(self) -> None:
        assert set(config()["services"]) == {"pki", "server", "client", "outcome"}
        services = config("--profile", "gpu")["services"]
        assert set(services) == {"pki", "server", "client", "client-gpu", "outcome"}
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

    def test_the_commands_for_models_run_in_a_service_that_no_other_command_starts(self) -> None:
        service = config("--profile", "model")["services"]["model"]
        assert service["build"]["target"] == "model"
        (mounted,) = service["volumes"]
        assert (mounted["source"], mounted["target"], mounted["read_only"]) == ("runs", "/runs", True)
        assert service["environment"]["RUNS_DIR"] == "/runs"
        assert (service["network_mode"], service["read_only"], service["cap_drop"]) == ("none", True, ["ALL"])
        assert service.get("depends_on") is None

    def test_every_setting_reaches_the_program_that_reads_it(self) -> None:
        services = config("--profile", "gpu")["services"]
        expected = read_env() | IN_THE_COMPOSE_FILE
        for service, kind in (
            ("pki", PkiSettings),
            ("server", ServerSettings),
            ("client", ClientSettings),
            ("client-gpu", ClientSettings),
        ):
            given = services[service]["environment"]
            wanted = names_of(kind) | (OF_BUNDLES if kind is PkiSettings else set())
            # The authority's container has all of .env, to find unknown names.
            found = {n: text for n, text in given.items() if n in wanted or service != "pki"}
            assert {n: text for n, text in found.items() if n not in ALIASES} == {
                n: expected[n] for n in wanted
            }

    @pytest.mark.parametrize("blank", [False, True])
    def test_a_missing_or_blank_env_means_the_defaults(self, blank: bool, tmp_path: Path) -> None:
        shutil.copy(ROOT / "docker-compose.yml", tmp_path)
        if blank:
            (tmp_path / ".env").write_text("".join(f"{name}=\n" for name in read_env()))
        one, other = (config("--profile", "gpu", folder=folder)["services"] for folder in (ROOT, tmp_path))
        kinds: dict[str, type] = {"pki": PkiSettings, "server": ServerSettings}
        for name in one:
            environments = [services[name].pop("environment", {}) for services in (one, other)]
            given = [{key: value or "" for key, value in each.items()} for each in environments]
            kind = kinds.get(name, ClientSettings)
            assert load(kind, environ=given[0]) == load(kind, environ=given[1]), name
            for services in (one, other):
                services[name].get("build", {}).pop("context", None)
        assert one == other

    def test_the_shell_takes_precedence_over_env(self) -> None:
        services = config(
            NUM_ROUNDS="7", CLIENTS="5", SERVER_PUBLISH="0.0.0.0:9000", STATUS_PUBLISH="127.0.0.1:9001"
        )["services"]
        assert services["server"]["environment"]["NUM_ROUNDS"] == "7"
        ports = [(port["host_ip"], port["published"], port["target"]) for port in services["server"]["ports"]]
        assert ports == [("0.0.0.0", "9000", 8080), ("127.0.0.1", "9001", 8081)]  # noqa: S104
        assert services["client"]["deploy"]["replicas"] == 5

    @pytest.mark.parametrize("place", ["the shell", ".env"])
    def test_rounds_and_clients_can_be_set_in_the_shell_and_in_env(self, place: str, tmp_path: Path) -> None:
        shutil.copy(ROOT / "docker-compose.yml", tmp_path)
        given = {"ROUNDS": "7", "CLIENTS": "5"}
        (tmp_path / ".env").write_text((ROOT / ".env").read_text())
        if place == ".env":
            with (tmp_path / ".env").open("a") as file:
                file.writelines(f"{name}={text}\n" for name, text in given.items())
        variables = given if place == "the shell" else {}
        services = config("--profile", "gpu", folder=tmp_path, **variables)["services"]
        assert load(ServerSettings, environ=services["server"]["environment"]).num_rounds == 7
        for name in ("client", "client-gpu"):
            assert services[name]["deploy"]["replicas"] == 5

    def test_the_server_is_published_on_loopback_alone(self) -> None:
        link, page = config()["services"]["server"]["ports"]
        assert (link["host_ip"], link["published"]) == ("127.0.0.1", "8080")
        # Any free port.
        assert (page["host_ip"], page.get("published", "")) == ("127.0.0.1", "")

    def test_every_service_is_restricted_and_pinned(self) -> None:
        for name, service in config("--profile", "gpu")["services"].items():
            assert service["read_only"], name
            assert service["cap_drop"] == ["ALL"]
            assert service["security_opt"] == ["no-new-privileges:true"]
            assert service["pull_policy"] == "never"
            assert service["init"]
            assert service["tmpfs"] == ["/tmp"]  # noqa: S108
            assert service["platform"] == "linux/amd64"
            assert service["logging"]["options"] == {"max-file": "3", "max-size": "10m"}
            assert service["stop_grace_period"] == "10s"
            assert service["image"].endswith(f":{__version__}")
            assert service["restart"] == "no"

    def test_the_authority_has_no_network_and_the_server_waits_for_it(self) -> None:
        services = config()["services"]
        assert services["pki"]["network_mode"] == "none"
        assert not {"ports", "networks"} & services["pki"].keys()
        assert services["server"]["depends_on"]["pki"]["condition"] == "service_completed_successfully"
