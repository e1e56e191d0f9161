"""What `make run` starts: how many programs, and the environment of each."""

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fedmx.errors import SettingsError
from fedmx.pki.authority import LOCAL_SITE
from fedmx.settings import ClientSettings, LocalSettings, PkiSettings, ServerSettings, load

_TELLING = ("DEBUG", "INFO")

ROOT = Path(__file__).resolve().parents[1]
"""The project's folder, which the programs run in."""


@dataclass(frozen=True)
class Plan:
    """What to start.

    Attributes:
        server: its environment.
        clients: theirs, by name.
        rounds: of the run.
        runs_dir: where the run will be found.
        log_level: of the lines that the user wants to see.
        counted: the settings whose value is the number of clients, as the user gave none.
        problems: what is wrong with the settings; where there is something, nothing may be started.
        pki: of the authority whose certificates the programs show; None where they show none.
    """

    server: Mapping[str, str]
    clients: Mapping[str, Mapping[str, str]]
    rounds: int
    runs_dir: Path
    log_level: str
    counted: Collection[str]
    problems: Sequence[str]
    pki: PkiSettings | None
    root: Path = ROOT

    def explain(self, problem: str) -> str:
        """Add to the server's words where a value comes from that the user did not give."""
        name = problem.partition("=")[0]
        return f"{problem} ({name} is CLIENTS unless it is given)" if name in self.counted else problem


@dataclass(frozen=True)
class _AllSettings(LocalSettings, ServerSettings, ClientSettings):
    """Every setting of every program, so that all that are wrong are reported at once."""


def make_plan(environ: Mapping[str, str]) -> Plan:
    """Turn the user's environment into those of the programs; what the user gave goes through."""
    settings, problems = _load(environ)
    given = {name for name, text in environ.items() if text.strip()}
    most = min(settings.clients, settings.num_partitions or settings.clients)
    least = settings.min_clients if "MIN_CLIENTS" in given else most
    problems = problems or _find_shortages(settings, given)
    pki_dir, given_certs = ROOT / settings.pki_dir, environ.get("CERTS_DIR", "").strip()
    everyone = {
        **environ,
        "PYTHONUNBUFFERED": "1",  # a line is shown when it is written
        "LISTEN_ADDRESS": str(settings.listen_address),
        "SERVER_ADDRESS": str(settings.listen_address.as_dialled_here()),
    }
    server = {
        **everyone,
        "CERTS_DIR": given_certs or str(pki_dir / "server"),
        "NUM_ROUNDS": str(settings.num_rounds),
        "MIN_CLIENTS": str(least),
    }
    if settings.log_level not in _TELLING:
        server["LOG_LEVEL"] = "INFO"  # it is to say that it listens; what the user did not want is not shown
    if settings.partition.is_shared and "NUM_PARTITIONS" not in given:
        server["NUM_PARTITIONS"] = str(settings.clients)
    names = [f"{settings.node_name or 'client'}-{number}" for number in range(1, settings.clients + 1)]
    certs = given_certs or str(pki_dir / "sites" / LOCAL_SITE)
    clients = {name: {**everyone, "CERTS_DIR": certs, "NODE_NAME": name} for name in names}
    return Plan(
        server,
        clients,
        settings.num_rounds,
        runs_dir=ROOT / settings.runs_dir,
        log_level=settings.log_level,
        counted={"MIN_CLIENTS", "NUM_PARTITIONS"} - given,
        problems=problems,
        pki=_make_pki(settings, pki_dir) if settings.link_security == "mtls" else None,
    )


def _load(environ: Mapping[str, str]) -> tuple[_AllSettings, Sequence[str]]:
    """Read all settings; one that is wrong has its default and is a problem."""
    try:
        return load(_AllSettings, environ=environ), []
    except SettingsError as error:
        wrong = {problem.partition("=")[0] for problem in error.problems}
        rest = {name: text for name, text in environ.items() if name not in wrong}
        return load(_AllSettings, environ=rest), error.problems


def _make_pki(settings: _AllSettings, pki_dir: Path) -> PkiSettings:
    given = {field.name: getattr(settings, field.name) for field in dataclasses.fields(PkiSettings)}
    dialled = settings.listen_address.as_dialled_here().host
    return PkiSettings(**{**given, "pki_dir": pki_dir, "server_names": (*settings.server_names, dialled)})


def _find_shortages(settings: _AllSettings, given: Collection[str]) -> list[str]:
    """Say which nodes the server would wait for in vain."""
    awaited = {"MIN_CLIENTS": settings.min_clients, "NUM_PARTITIONS": settings.num_partitions}
    return [
        f"{name}={number}: make run starts CLIENTS={settings.clients}; expected at most that"
        for name, number in awaited.items()
        if name in given and number > settings.clients
    ]
