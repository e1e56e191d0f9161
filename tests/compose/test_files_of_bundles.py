"""The compose file of a bundle, as `docker compose config` shows it."""

import io
import tarfile
from pathlib import Path

import pytest

from fedmx.settings import ClientSettings, load
from fedmx.values import Address
from server.authority import bundle
from tests.compose.config import config, names_of

SITE = bundle.Site(
    name="hospital-a",
    project="fedmx-hospital-a",
    image="fedmx-client:7",
    gpu_image="fedmx-client-gpu:7",
    settings=ClientSettings(server_address=Address("fl.example.org", 8080), certs_dir=Path("/certs")),
)


@pytest.fixture(scope="class")
def bundle_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An unpacked bundle, without certificates."""
    folder, packed = tmp_path_factory.mktemp("bundle"), io.BytesIO()
    bundle.write(folder, SITE, packed)
    packed.seek(0)
    with tarfile.open(fileobj=packed) as archive:
        archive.extractall(folder, filter="data")
    return folder / "hospital-a"


@pytest.mark.compose
class TestConfigOfABundle:
    def test_it_passes_every_setting_to_the_clients(self, bundle_folder: Path) -> None:
        services = config("--profile", "gpu", folder=bundle_folder)["services"]
        for name in ("client", "client-gpu"):
            given = services[name]["environment"]
            assert given.keys() == names_of(ClientSettings)
            assert load(ClientSettings, environ=given) == SITE.settings
            assert services[name]["deploy"]["replicas"] == 1
        assert {name: service["image"] for name, service in services.items()} == {
            "certs": SITE.image,
            "client": SITE.image,
            "client-gpu": SITE.gpu_image,
            "outcome": SITE.image,
        }

    def test_a_sites_own_env_file_takes_precedence(self, bundle_folder: Path) -> None:
        own = {"TASK": "hospital.task", "SERVER_ADDRESS": "10.0.0.7:443", "MAX_MODEL_BYTES": "1000"}
        of_compose = {"CLIENT_IMAGE": "mine:1", "CLIENTS": "3", "CLIENT_MEMORY": "512m"}
        path = bundle_folder / ".env"
        path.write_text("".join(f"{name}={value}\n" for name, value in (own | of_compose).items()))
        try:
            services = config(folder=bundle_folder)["services"]
            given = config(folder=bundle_folder, TASK="shell.task")["services"]["client"]["environment"]
        finally:
            path.unlink()
        assert {name: services["client"]["environment"][name] for name in own} == own
        assert given["TASK"] == "shell.task"
        assert {services[name]["image"] for name in ("certs", "client", "outcome")} == {"mine:1"}
        assert services["client"]["deploy"]["replicas"] == 3
        assert services["client"]["deploy"]["resources"]["limits"]["memory"] == str(512 * 1024**2)

    def test_the_shell_can_set_another_address_for_one_command(self, bundle_folder: Path) -> None:
        services = config(folder=bundle_folder, SERVER_ADDRESS="192.0.2.7:9000")["services"]
        assert services["client"]["environment"]["SERVER_ADDRESS"] == "192.0.2.7:9000"

    def test_its_services_are_as_restricted_as_those_of_the_federation(self, bundle_folder: Path) -> None:
        for_sites = config("--profile", "gpu", folder=bundle_folder)["services"]
        assert set(for_sites) == {"certs", "client", "client-gpu", "outcome"}
        of_federation = config("--profile", "gpu")["services"]
        for name in ("client", "client-gpu"):
            one, other = for_sites[name], of_federation[name]
            differing = {key for key in one if one[key] != other.get(key)}
            assert differing == {"depends_on", "deploy", "environment", "image", "networks", "volumes"}
            assert one["deploy"] == other["deploy"] | {"replicas": 1}
        for name in ("certs", "outcome"):
            assert for_sites[name]["read_only"], name
            assert for_sites[name]["cap_drop"] == ["ALL"]
            assert for_sites[name]["security_opt"] == ["no-new-privileges:true"]
            assert for_sites[name]["network_mode"] == "none"
            assert for_sites[name]["restart"] == "no"

    def test_each_site_has_its_own_project(self, bundle_folder: Path) -> None:
        assert config(folder=bundle_folder)["name"] == "fedmx-hospital-a"
