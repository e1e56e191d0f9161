"""Starts Ray on this machine, or connects to a running cluster, and checks that workers fit."""

import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray

from client import cpu
from fedmx.cgroups import count_cores
from fedmx.deployment_settings import SimulationSettings
from fedmx.errors import SettingsError, UnreachableError
from fedmx.fields import list_names
from fedmx.log import event, printable
from fedmx.settings import ClientSettings
from local.plan import ROOT
from local.simulation.code import stage_code

_CONNECT_S = 5.0
_MEGABYTE = 1_000_000
# Ray keeps the messages on their way in it. Beyond that, they are written to files.
_LARGEST_STORE = 2_000 * _MEGABYTE


@dataclass(frozen=True)
class Setup:
    """What workers need.

    Attributes:
        simulation: the settings of the simulation.
        client: the settings of the client.
        environ: this process's environment.
        folder: for temporary files.
    """

    simulation: SimulationSettings
    client: ClientSettings
    environ: Mapping[str, str]
    folder: Path


def connect(setup: Setup) -> None:
    """Start Ray or connect to the cluster.

    Raises:
        SettingsError: no worker fits on any machine, or the cluster has another version.
        UnreachableError: the cluster does not answer.
    """
    address = setup.simulation.ray_address
    env_vars = _list_variables(setup)
    if address is None:
        cpu.warn_if_missing(setup.client.cpu_isa)
        ray.init(
            address="local",
            num_cpus=count_cores(),
            object_store_memory=_size_store(),
            include_dashboard=False,
            # The nodes are this machine's: no need to ask which address the network knows it by.
            _node_ip_address="127.0.0.1",
            logging_level="ERROR",
            runtime_env={"env_vars": {**env_vars, "PYTHONPATH": _join_path(setup)}},
        )
    else:
        _check_reachable(setup)
        try:
            ray.init(
                address=str(address),
                logging_level="ERROR",
                runtime_env={
                    "env_vars": env_vars,
                    "working_dir": str(stage_code(setup.client.task, setup.folder)),
                },
            )
        # Ray raises these for another version of Ray or Python, and for what it cannot upload.
        except (RuntimeError, ValueError, ConnectionError) as error:
            raise SettingsError(f"RAY_ADDRESS={address}: {printable(' '.join(str(error).split()))}") from None
    _check_shares(setup.simulation)
    event("Ray is ready", machines=len(ray.nodes()), workers=count_workers(setup.simulation))


def count_workers(settings: SimulationSettings) -> int:
    """Return how many workers fit on all machines."""
    return sum(_count_on(machine, settings) for machine in _list_machines())


def _count_on(machine: Mapping[str, float], settings: SimulationSettings) -> int:
    count = int(machine.get("CPU", 0) / settings.simulation_cpus)
    if settings.simulation_gpus:
        count = min(count, int(machine.get("GPU", 0) / settings.simulation_gpus))
    return count


def _check_shares(settings: SimulationSettings) -> None:
    if count_workers(settings):
        return
    machines = _list_machines()
    cpus, gpus = (max((machine.get(kind, 0) for machine in machines), default=0) for kind in ("CPU", "GPU"))
    if settings.simulation_gpus > gpus:
        raise SettingsError(
            f"SIMULATION_GPUS={settings.simulation_gpus:g}: Ray found {gpus:g} GPUs on a machine; expected at"
            " most that"
        )
    raise SettingsError(
        f"SIMULATION_CPUS={settings.simulation_cpus:g}: Ray has {cpus:g} cores on a machine; expected at most"
        " that"
    )


def _list_machines() -> list[Mapping[str, float]]:
    nodes: list[dict[str, Any]] = ray.nodes()
    return [node["Resources"] for node in nodes if node["Alive"]]


def _list_variables(setup: Setup) -> dict[str, str]:
    """Return the client's settings for the workers: those that the user set, and what follows from others."""
    given = {name: setup.environ.get(name, "") for name in list_names(ClientSettings)}
    quiet = setup.client.log_level if setup.client.log_level in ("DEBUG", "ERROR") else "WARNING"
    return {
        **{name: text for name, text in given.items() if text.strip()},
        "DATA_DIR": str(ROOT / setup.client.data_dir),
        "CLIENT_THREADS": str(setup.client.client_threads),
        # A line for each node in each round would hide the server's.
        "LOG_LEVEL": quiet,
    }


def _join_path(setup: Setup) -> str:
    return ":".join(filter(None, (str(ROOT), setup.environ.get("PYTHONPATH", ""))))


def _size_store() -> int:
    """Return the size of the store for messages: it must fit into /dev/shm, or files take its place."""
    with open("/proc/meminfo") as file:  # noqa: PTH123 - a file of the kernel
        total = int(next(line for line in file if line.startswith("MemTotal:")).split()[1]) * 1024
    return max(100 * _MEGABYTE, min(_LARGEST_STORE, total // 5))


def _check_reachable(setup: Setup) -> None:
    """Dial the cluster once: Ray itself would try for a minute, with many lines.

    Raises:
        UnreachableError: nothing listens at the address.
    """
    address = setup.simulation.ray_address
    assert address is not None  # noqa: S101 - the caller's
    try:
        socket.create_connection((address.host, address.port), _CONNECT_S).close()
    except OSError as error:
        raise UnreachableError(
            f"RAY_ADDRESS={address}: no Ray cluster answers ({error.strerror or error}); expected the address"
            " that `ray start --head` printed, on a machine of that cluster"
        ) from None
