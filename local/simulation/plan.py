"""What `make simulate` starts: one program, which is the server and uses Flower's simulation engine."""

import json
import secrets
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec

from fedmx.cgroups import count_cores
from fedmx.deployment_settings import SimulationSettings
from fedmx.settings import ClientSettings, ServerSettings
from local.plan import ROOT, Plan, load_valid

_OF_RAY = {
    # Nothing is sent to Ray's authors.
    "RAY_USAGE_STATS_ENABLED": "0",
    # Without GPUs, Ray would announce a change of a later version in every worker.
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    # Ray keeps messages in files below RAY_TMPDIR if /dev/shm is small, which needs no WARNING of ten lines.
    "RAY_OBJECT_STORE_ALLOW_SLOW_STORAGE": "1",
    "RAY_COLOR_PREFIX": "0",
}


@dataclass(frozen=True)
class _AllSettings(SimulationSettings, ServerSettings, ClientSettings):
    """Every setting of a simulation, so that all problems are reported at once."""


def make_plan(environ: Mapping[str, str]) -> Plan:
    """Build the environment of the program from the user's, which is passed on."""
    given = {name for name, text in environ.items() if text.strip()}
    settings, invalid = load_valid(_AllSettings, environ)
    return Plan(
        server={
            **environ,
            # A line is shown as soon as it is written.
            "PYTHONUNBUFFERED": "1",
            **_OF_RAY,
            **_protect(settings),
            **_choose(settings, given),
        },
        clients={},
        runs_dir=ROOT / settings.runs_dir,
        derived={"MIN_CLIENTS", "NUM_PARTITIONS"} - given,
        problems=[*invalid, *_find_problems(settings, environ, given), *find_problems_of_ray()],
        pki=None,
        program="local.simulation.engine",
        counted="NODES",
        nodes=settings.nodes,
    )


def find_problems_of_ray() -> Iterator[str]:
    """Yield a problem if Ray is missing, or is not the version that Flower requires."""
    remedy = "expected the environment that `make simulate` sets up, .venv-simulation"
    if find_spec("ray") is None:
        yield f"Ray is not installed; {remedy}"
        return
    found = metadata.version("ray")
    wanted = {
        text.partition(";")[0].partition("==")[2].strip()
        for text in metadata.requires("flwr") or ()
        if text.startswith("ray==")
    }
    if wanted and found not in wanted:
        yield f"Ray {found} is installed, and Flower needs Ray {', '.join(sorted(wanted))}; {remedy}"


def _protect(settings: _AllSettings) -> dict[str, str]:
    """Return a token for Ray's own ports, which are open to the network; a cluster has its own rules."""
    if settings.ray_address:
        return {}
    return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}


def _choose(settings: _AllSettings, given: Collection[str]) -> dict[str, str]:
    """Choose the settings of the server that follow those of the simulation, unless the user set them."""
    chosen = {
        "NUM_ROUNDS": str(settings.num_rounds),
        # All nodes are there from the start.
        "JOIN_WINDOW": "0",
        # A few workers train all nodes, one after the other.
        "ROUND_TIMEOUT": "0",
        "MIN_CLIENTS": str(min(settings.nodes, settings.num_partitions or settings.nodes)),
        "NUM_PARTITIONS": str(settings.nodes),
    }
    chosen = {name: text for name, text in chosen.items() if name not in given}
    if "FRACTION" in given:
        arguments = {**settings.strategy_args, "fraction_train": settings.fraction}
        chosen["STRATEGY_ARGS"] = json.dumps(arguments)
    return chosen


def _find_problems(
    settings: _AllSettings, environ: Mapping[str, str], given: Collection[str]
) -> Iterator[str]:
    """Yield settings that contradict each other or this machine, though each is valid by itself."""
    if "CLIENTS" in given:
        yield f"CLIENTS={environ['CLIENTS']}: a simulation has nodes; expected NODES={environ['CLIENTS']}"
    if not settings.partition.is_shared:
        yield (
            f"PARTITION={settings.partition}: the nodes of a simulation divide one dataset; expected iid,"
            " dirichlet:ALPHA, labels:K or shards:K"
        )
    awaited = {"MIN_CLIENTS": settings.min_clients, "NUM_PARTITIONS": settings.num_partitions}
    for name, number in awaited.items():
        if name in given and number > settings.nodes:
            yield f"{name}={number}: the simulation has NODES={settings.nodes}; expected at most that"
    if "FRACTION" in given and "fraction_train" in settings.strategy_args:
        yield (
            f"FRACTION={settings.fraction:g}: STRATEGY_ARGS has fraction_train too; expected only one of them"
        )
    yield from _find_problems_of_workers(settings)


def _find_problems_of_workers(settings: _AllSettings) -> Iterator[str]:
    if settings.client_threads > max(1.0, settings.simulation_cpus):
        yield (
            f"CLIENT_THREADS={settings.client_threads}: a worker has"
            f" SIMULATION_CPUS={settings.simulation_cpus:g}; expected at most that"
        )
    if settings.device == "gpu" and not settings.simulation_gpus:
        yield "DEVICE=gpu: a worker has no GPU; expected SIMULATION_GPUS above 0, such as 0.5"
    if settings.ray_address is None and settings.simulation_cpus > count_cores():
        yield (
            f"SIMULATION_CPUS={settings.simulation_cpus:g}: this machine has {count_cores()} cores; expected"
            " at most that"
        )
