"""The settings around the server and the client: those of the authority, and of what starts the two."""

from dataclasses import dataclass
from pathlib import Path

from fedmx import __version__, parsing
from fedmx.fields import setting
from fedmx.values import Address

MAX_CLIENTS = 1_000
"""The clients that `make run` starts at most."""

_positive = parsing.integer(at_least=1)
_days = parsing.number(above=0, below=36_525)


@dataclass(frozen=True)
class PkiSettings:
    """Settings of `python -m server pki`."""

    pki_dir: Path = setting(Path(".fedmx/pki"), Path, "folder of the authority and its certificates")
    server_names: tuple[str, ...] = setting(
        (),
        parsing.host_names,
        "names by which other machines connect to the server, added to its certificate; -NAME removes one",
    )
    authority_days: float = setting(3650.0, _days, "days that the authority's certificate is valid")
    certificate_days: float = setting(365.0, _days, "days that other certificates are valid")
    renew_days: float = setting(
        30.0, parsing.number(at_least=0), "certificates are renewed this many days before they expire"
    )
    compose_project_name: str = setting(
        "fedmx",
        parsing.name,
        "name of the containers, volumes and images; set another one for a second federation on this machine",
    )
    fedmx_version: str = setting(__version__, parsing.name, "version of the images")


@dataclass(frozen=True)
class LocalSettings(PkiSettings):
    """Settings of `make run`, in addition to those of the programs that it starts."""

    clients: int = setting(
        2,
        parsing.integer(at_least=1, at_most=MAX_CLIENTS),
        "number of clients to start",
    )


@dataclass(frozen=True)
class SimulationSettings:
    """Settings of `make simulate`, in addition to those of the server and of a client."""

    nodes: int = setting(10, _positive, "number of virtual nodes")
    fraction: float = setting(
        1.0,
        parsing.number(above=0, at_most=1),
        "fraction of the nodes that train in a round: fraction_train of STRATEGY_ARGS",
    )
    simulation_cpus: float = setting(
        1.0, parsing.share(is_needed=True), "cores of each worker, which trains one node at a time"
    )
    simulation_gpus: float = setting(
        0.0, parsing.share(is_needed=False), "GPUs of each worker; 0.25: four workers share a GPU"
    )
    ray_address: Address | None = setting(
        None, Address.parse_peer, "host:port of a running Ray cluster; empty: this machine alone"
    )


@dataclass(frozen=True)
class ContainerSettings:
    """Settings that only Docker Compose reads."""

    server_publish: str = setting(
        "127.0.0.1:8080",
        str,
        "host:port at which this machine publishes the server; 0.0.0.0:8080 for clients on other machines",
    )
    status_publish: str = setting(
        "127.0.0.1:",
        str,
        "host:port at which this machine publishes the page that shows the run; without a port, a free one",
    )
    superlink_publish: str = setting(
        "127.0.0.1:8000",
        str,
        "host:port at which this machine publishes a SuperLink; anyone who can reach it can submit runs",
    )
    supernodes: int = setting(
        2, parsing.integer(at_least=1, at_most=MAX_CLIENTS), "SuperNodes that `make superlink` starts"
    )
    base_image: str = setting("debian:bookworm-slim", str, "image that both images are built on")
    task_requirements: str = setting(
        "",
        str,
        "file with the packages of a task, for the client image, such as requirements/task.txt; empty: none",
    )
    server_cpus: str = setting("1", str, "cores of the server")
    server_memory: str = setting(
        "2g",
        str,
        "memory of the server: 165 MB + 3.5 MB x clients + 5 x model size + UPDATE_MEMORY; more for some"
        " strategies",
    )
    client_cpus: str = setting("1", str, "cores of each client")
    client_memory: str = setting("2g", str, "memory of each client: its data and a few models")
