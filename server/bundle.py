"""What a site needs to take part, in one archive: compose file, settings, certificates, and how to start."""

import io
import ipaddress
import tarfile
import time
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import IO

from fedmx import __version__
from fedmx.link.certificates import AUTHORITY_FILE
from fedmx.parsing import Address
from fedmx.settings import ClientSettings, explain

_FILES = Path(__file__).parent / "site"
_SECRET, _PUBLIC = 0o600, 0o644
_FIXED = ("CERTS_DIR",)  # in the compose file


def write(certs: Path, site: str, address: Address, out: IO[bytes]) -> None:
    """Write a site's archive.

    Args:
        certs: folder of its certificate, the authority's, and its key unless the site made its own.
        site: its name, and that of the folder in the archive.
        address: by which it dials the server.
        out: where the archive goes; a tar file packed by gzip.
    """
    with tarfile.open(fileobj=out, mode="w|gz") as archive:
        for name, data in _members(certs, site, address):
            info = tarfile.TarInfo(f"{site}/{name}")
            info.size, info.mtime = len(data), int(time.time())
            info.mode = _SECRET if name.endswith(".key") else _PUBLIC
            archive.addfile(info, io.BytesIO(data))


def find_fault_of_address(address: Address, hosts: Collection[str]) -> str | None:
    """Return why sites that dial an address will refuse the server, or None.

    Args:
        address: by which they dial it.
        hosts: names and addresses that the server's certificate is for.
    """
    try:
        host = str(ipaddress.ip_address(address.host))
    except ValueError:
        host = address.host.lower()
    if host in {name.lower() for name in hosts}:
        return None
    return (
        f"SERVER_ADDRESS={address}: the server's certificate does not have the name {address.host}; add it"
        f" with `make pki-server SERVER_NAMES={address.host}`, and restart the server"
    )


def _members(certs: Path, site: str, address: Address) -> Iterator[tuple[str, bytes]]:
    for name in ("docker-compose.yml", "README.md"):
        yield name, (_FILES / name).read_bytes()
    yield ".env", _make_settings(site, address).encode()
    for name in (AUTHORITY_FILE, "site.crt", "site.key"):
        if (certs / name).exists():
            yield f"certs/{name}", (certs / name).read_bytes()


def _tell_compose(site: str) -> Iterator[tuple[str, str, str]]:
    """Give what compose itself reads: how many clients, of which image, and how much each may take."""
    yield "COMPOSE_PROJECT_NAME", f"fedmx-{site}", "what the names of its containers begin with"
    yield "CLIENTS", "1", "clients to start"
    yield "CLIENT_IMAGE", f"fedmx-client:{__version__}", "their image"
    yield "CLIENT_GPU_IMAGE", f"fedmx-client-gpu:{__version__}", "the image of clients with CUDA"
    yield "CLIENT_CPUS", "1", "cores of a client"
    yield "CLIENT_MEMORY", "2g", "memory of a client: its data, and a few models"


def _make_settings(site: str, address: Address) -> str:
    lines = [f"# Site {site} of the federation at {address}. A variable of the shell wins over a line here."]
    for name, value, meaning in [*_tell_compose(site), *explain(ClientSettings(server_address=address))]:
        if name not in _FIXED:
            lines += [f"# {meaning}", f"{name}={value}"]
    return "\n".join(lines) + "\n"
