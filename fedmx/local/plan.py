"""What `make run` starts: how many programs, and the environment of each."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fedmx.errors import SettingsError
from fedmx.parsing import Address
from fedmx.settings import ClientSettings, LocalSettings, ServerSettings, load

ROOT = Path(__file__).resolve().parents[2]
"""The project's folder, which the programs run in."""


@dataclass(frozen=True)
class Plan:
    """The environments of the server and of each client by name, and where the run will be found."""

    server: Mapping[str, str]
    clients: Mapping[str, Mapping[str, str]]
    rounds: int
    runs_dir: Path
    root: Path = ROOT


@dataclass(frozen=True)
class _AllSettings(LocalSettings, ServerSettings, ClientSettings):
    """Every setting of every program, so that all that are wrong are reported at once."""


def make_plan(environ: Mapping[str, str]) -> Plan:
    """Turn the user's environment into those of the programs; what the user gave goes through.

    Raises:
        SettingsError: with every problem of every setting, before anything is started.
    """
    settings = load(_AllSettings, environ=environ)
    rounds = settings.rounds or settings.num_rounds
    given = {name for name, text in environ.items() if text.strip()}
    least = settings.min_clients if "MIN_CLIENTS" in given else settings.clients
    if least > settings.clients:
        raise SettingsError(
            f"MIN_CLIENTS={least}: make run starts CLIENTS={settings.clients}; expected at most that"
        )
    everyone = {
        **environ,
        "PYTHONUNBUFFERED": "1",  # a line is shown when it is written
        "LISTEN_ADDRESS": str(settings.listen_address),
        "SERVER_ADDRESS": str(_address_to_dial(settings.listen_address)),
    }
    server = {
        **everyone,
        "NUM_ROUNDS": str(rounds),
        "MIN_CLIENTS": str(least),
    }
    if settings.partition.is_shared and "NUM_PARTITIONS" not in given:
        server["NUM_PARTITIONS"] = str(settings.clients)
    names = [f"{settings.node_name or 'client'}-{number}" for number in range(1, settings.clients + 1)]
    clients = {name: {**everyone, "NODE_NAME": name} for name in names}
    return Plan(server, clients, rounds, ROOT / settings.runs_dir)


def _address_to_dial(listening: Address) -> Address:
    # A server that listens on every address is dialled on loopback.
    hosts = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared with, never bound to
    return Address(hosts.get(listening.host, listening.host), listening.port)
