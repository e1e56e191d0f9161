"""A site's archive: what is in it, who may read it, and whether the address in it will be believed."""

import io
import tarfile
from pathlib import Path

import pytest

from fedmx import __version__
from fedmx.parsing import Address
from fedmx.settings import ClientSettings, load
from server import bundle

ADDRESS = Address("fl.example.org", 8080)
HOSTS = {"server", "localhost", "127.0.0.1", "::1", "fl.example.org", "2001:db8::7"}


@pytest.fixture
def certs(tmp_path: Path) -> Path:
    for name in ("authority.crt", "site.crt", "site.key", "site.csr"):
        (tmp_path / name).write_text(f"of {name}\n")
    return tmp_path


def pack(certs: Path) -> tarfile.TarFile:
    packed = io.BytesIO()
    bundle.write(certs, "hospital-a", ADDRESS, packed)
    return tarfile.open(fileobj=io.BytesIO(packed.getvalue()))


def read(archive: tarfile.TarFile, name: str) -> str:
    member = archive.extractfile(f"hospital-a/{name}")
    assert member is not None
    return member.read().decode()


def read_settings(certs: Path) -> dict[str, str]:
    lines = read(pack(certs), ".env").splitlines()
    return dict(line.split("=", 1) for line in lines if not line.startswith("#"))


def test_it_holds_what_a_site_needs_in_a_folder_of_its_name_and_only_the_key_is_secret(certs: Path) -> None:
    modes = {member.name: member.mode for member in pack(certs).getmembers()}
    assert modes == {
        "hospital-a/docker-compose.yml": 0o644,
        "hospital-a/README.md": 0o644,
        "hospital-a/.env": 0o644,
        "hospital-a/certs/authority.crt": 0o644,
        "hospital-a/certs/site.crt": 0o644,
        "hospital-a/certs/site.key": 0o600,
    }
    assert read(pack(certs), "certs/site.key") == "of site.key\n"


def test_a_site_that_keeps_its_own_key_gets_none(certs: Path) -> None:
    (certs / "site.key").unlink()
    assert [name for name in pack(certs).getnames() if name.endswith(".key")] == []


def test_its_settings_are_a_clients_defaults_but_for_the_address(certs: Path) -> None:
    assert load(ClientSettings, environ=read_settings(certs)) == ClientSettings(server_address=ADDRESS)


def test_compose_is_told_of_one_client_of_this_version_in_a_project_of_the_site(certs: Path) -> None:
    settings = read_settings(certs)
    assert settings["CLIENTS"] == "1"
    assert settings["CLIENT_IMAGE"] == f"fedmx-client:{__version__}"
    assert settings["COMPOSE_PROJECT_NAME"] == "fedmx-hospital-a"


def test_its_readme_has_five_lines(certs: Path) -> None:
    assert len(read(pack(certs), "README.md").splitlines()) == 5


@pytest.mark.parametrize(
    "text", ["fl.example.org:8080", "FL.Example.org:1", "127.0.0.1:8080", "[2001:DB8:0::7]:8080"]
)
def test_an_address_by_a_name_of_the_servers_certificate_will_be_believed(text: str) -> None:
    assert bundle.find_fault_of_address(Address.parse(text), HOSTS) is None


@pytest.mark.parametrize("text", ["example.org:8080", "192.0.2.7:8080", "[2001:db8::8]:8080"])
def test_an_address_by_another_name_is_a_fault_that_names_it(text: str) -> None:
    fault = bundle.find_fault_of_address(Address.parse(text), HOSTS)
    assert fault is not None
    assert fault.startswith(f"SERVER_ADDRESS={text}: ")
    assert f"`make pki-server SERVER_NAMES={Address.parse(text).host}`" in fault
