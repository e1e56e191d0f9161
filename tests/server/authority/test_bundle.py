"""A site's bundle: its files and their modes, and whether clients will accept the server at its address."""

import io
import re
import tarfile
from pathlib import Path

import pytest

from fedmx.settings import ClientSettings, load
from fedmx.values import Address
from server.authority import bundle

SITE = bundle.Site(
    name="hospital-a",
    project="cancer-hospital-a",
    image="registry.example.org/client:7",
    gpu_image="registry.example.org/client-gpu:7",
    settings=ClientSettings(
        server_address=Address("2001:db8::7", 8443), max_model_bytes=12345, link_security="insecure"
    ),
)
HOSTS = {"server", "localhost", "127.0.0.1", "::1", "fl.example.org", "2001:db8::7"}


@pytest.fixture
def certs(tmp_path: Path) -> Path:
    for name in ("authority.crt", "site.crt", "site.key", "site.csr"):
        (tmp_path / name).write_text(f"content of {name}\n")
    return tmp_path


def pack(certs: Path) -> tarfile.TarFile:
    packed = io.BytesIO()
    bundle.write(certs, SITE, packed)
    return tarfile.open(fileobj=io.BytesIO(packed.getvalue()))


def read(archive: tarfile.TarFile, name: str) -> str:
    member = archive.extractfile(f"hospital-a/{name}")
    assert member is not None
    return member.read().decode()


def read_defaults(certs: Path) -> dict[str, set[str]]:
    """Return the defaults in the compose file of everything that it reads from `.env`, by name."""
    defaults: dict[str, set[str]] = {}
    for name, default in re.findall(r"\$\{(\w+)([^}]*)\}", read(pack(certs), "docker-compose.yml")):
        assert default.startswith(":-"), name
        defaults.setdefault(name, set()).add(default.removeprefix(":-"))
    return defaults


def test_a_bundle_is_a_folder_named_after_the_site_in_which_only_the_key_is_secret(certs: Path) -> None:
    modes = {member.name: member.mode for member in pack(certs).getmembers()}
    assert modes == {
        "hospital-a/docker-compose.yml": 0o644,
        "hospital-a/README.md": 0o644,
        "hospital-a/certs/.gitignore": 0o644,
        "hospital-a/certs/authority.crt": 0o644,
        "hospital-a/certs/site.crt": 0o644,
        "hospital-a/certs/site.key": 0o600,
    }
    assert read(pack(certs), "certs/site.key") == "content of site.key\n"


def test_the_bundle_of_a_site_that_keeps_its_own_key_has_none(certs: Path) -> None:
    (certs / "site.key").unlink()
    assert [name for name in pack(certs).getnames() if name.endswith(".key")] == []


def test_the_compose_file_has_the_servers_settings_and_defaults_for_all_others(
    certs: Path,
) -> None:
    defaults = {name: " or ".join(values) for name, values in read_defaults(certs).items()}
    settings = {name: value for name, value in defaults.items() if name.lower() in vars(SITE.settings)}
    assert load(ClientSettings, environ=settings) == SITE.settings
    assert settings.keys() == {name.upper() for name in vars(SITE.settings)} - {"CERTS_DIR"}
    assert {name: defaults[name] for name in defaults.keys() - settings.keys()} == {
        "CLIENTS": "1",
        "CLIENT_IMAGE": SITE.image,
        "CLIENT_GPU_IMAGE": SITE.gpu_image,
        "CLIENT_CPUS": "1",
        "CLIENT_MEMORY": "2g",
    }


def test_each_site_has_its_own_compose_project(certs: Path) -> None:
    assert "name: cancer-hospital-a" in read(pack(certs), "docker-compose.yml").splitlines()


def test_unpacking_a_new_archive_keeps_the_sites_own_files(certs: Path, tmp_path: Path) -> None:
    pack(certs).extractall(tmp_path, filter="data")
    folder = tmp_path / "hospital-a"
    own = {
        ".env": "TASK=hospital.task\n",
        "docker-compose.override.yml": "services: {}\n",
        "certs/site.key": "the site's own key\n",
    }
    for name, text in own.items():
        (folder / name).write_text(text)
    (certs / "site.key").unlink()
    (certs / "site.crt").write_text("renewed\n")
    pack(certs).extractall(tmp_path, filter="data")
    assert {name: (folder / name).read_text() for name in own} == own
    assert (folder / "certs" / "site.crt").read_text() == "renewed\n"


def test_the_readme_explains_how_to_unpack_a_new_bundle(certs: Path) -> None:
    lines = read(pack(certs), "README.md").splitlines()
    assert len(lines) == 6
    assert "tar xzf" in lines[5]


@pytest.mark.parametrize(
    "text", ["fl.example.org:8080", "FL.Example.org:1", "127.0.0.1:8080", "[2001:DB8:0::7]:8080"]
)
def test_an_address_with_a_name_of_the_servers_certificate_has_no_problem(text: str) -> None:
    assert bundle.find_address_problem(Address.parse(text), HOSTS) is None


@pytest.mark.parametrize("text", ["example.org:8080", "192.0.2.7:8080", "[2001:db8::8]:8080"])
def test_an_address_with_another_name_is_reported_with_the_remedy(text: str) -> None:
    fault = bundle.find_address_problem(Address.parse(text), HOSTS)
    assert fault is not None
    assert fault.startswith(f"SERVER_ADDRESS={text}: ")
    assert f"`make pki-server SERVER_NAMES={Address.parse(text).host}`" in fault
