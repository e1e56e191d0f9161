"""A site's bundle: one archive with a compose file, certificates and instructions.

The compose file has the settings that the server determines. The site's own settings are in a `.env` that is
never in the archive, so that unpacking a new archive over an old one keeps them.
"""

import io
import ipaddress
import tarfile
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from fedmx.fields import explain
from fedmx.pki.certificates import AUTHORITY_FILE
from fedmx.settings import ClientSettings
from fedmx.values import Address

_FILES = Path(__file__).parent / "site"
_SECRET, _PUBLIC = 0o600, 0o644


@dataclass(frozen=True)
class Site:
    """What the server determines for a site.

    Attributes:
        name: name of the site, and of the folder in its archive.
        project: name of its containers and volumes.
        image: image of its clients.
        gpu_image: image of its clients with CUDA.
        settings: defaults of its clients.
    """

    name: str
    project: str
    image: str
    gpu_image: str
    settings: ClientSettings


def write(certs: Path, site: Site, out: IO[bytes]) -> None:
    """Write a site's archive.

    Args:
        certs: folder of its certificate, the authority's, and its key unless the site keeps its own.
        site: the site.
        out: stream for the archive, a tar file compressed with gzip.
    """
    with tarfile.open(fileobj=out, mode="w|gz") as archive:
        for name, data in _members(certs, site):
            info = tarfile.TarInfo(f"{site.name}/{name}")
            info.size, info.mtime = len(data), int(time.time())
            info.mode = _SECRET if name.endswith(".key") else _PUBLIC
            archive.addfile(info, io.BytesIO(data))


def find_address_problem(address: Address, hosts: Collection[str]) -> str | None:
    """Return why sites that connect to an address will refuse the server, or None.

    Args:
        address: the server's address for them.
        hosts: names and addresses that the server's certificate is valid for.
    """
    try:
        host = str(ipaddress.ip_address(address.host))
    except ValueError:
        host = address.host.lower()
    if host in {name.lower() for name in hosts}:
        return None
    return (
        f"SERVER_ADDRESS={address}: the server's certificate is not valid for {address.host}; add the name"
        f" with `make pki-server SERVER_NAMES={address.host}`, and restart the server"
    )


def _members(certs: Path, site: Site) -> Iterator[tuple[str, bytes]]:
    yield "docker-compose.yml", _make_compose_file(site).encode()
    yield "README.md", (_FILES / "README.md").read_bytes()
    # A site may unpack the archive in a repository and put its own key there.
    yield "certs/.gitignore", b"*.key\n"
    for name in (AUTHORITY_FILE, "site.crt", "site.key"):
        if (certs / name).exists():
            yield f"certs/{name}", (certs / name).read_bytes()


def _make_compose_file(site: Site) -> str:
    """Return the compose file, with a default for everything that the site's `.env` may set."""
    text = (_FILES / "docker-compose.yml").read_text().replace("name: PROJECT\n", f"name: {site.project}\n")
    settings = "".join(
        f'  # {meaning}\n  {name}: "${{{name}:-{value}}}"\n'
        for name, value, meaning in explain(site.settings)
        # The compose file mounts this folder.
        if name != "CERTS_DIR"
    )
    text = text.replace("  # SETTINGS\n", settings)
    for name, image in (("CLIENT_IMAGE", site.image), ("CLIENT_GPU_IMAGE", site.gpu_image)):
        text = text.replace(f"${{{name}}}", f"${{{name}:-{image}}}")
    return text
