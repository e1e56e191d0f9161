"""What `make run` starts: how many programs, and the environment of each."""

import dataclasses
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from fedmx.deployment_settings import LocalSettings, PkiSettings
from fedmx.errors import SettingsError
from fedmx.pki.authority import LOCAL_SITE
from fedmx.settings import ClientSettings, ServerSettings, load
from fedmx.values import PartitionRule
from local.sites import find_sites, has_placeholder

S = TypeVar("S")

ROOT = Path(__file__).resolve().parents[1]
"""The project's folder, in which the programs run."""


@dataclass(frozen=True)
class Plan:
    """What to start.

    Attributes:
        server: its environment.
        clients: their environments, by name.
        runs_dir: the folder in which the run will be found.
        derived: settings that the user left unset and that follow CLIENTS.
        problems: what is wrong with the settings; if there are any, nothing may be started.
        pki: settings of the authority that issues the certificates; None if LINK_SECURITY is `insecure`.
        needs_all: whether the run cannot begin without one of the clients, because each has data of its own.
        program: the server's module.
        counted: the setting that is the number of nodes.
        nodes: that number.
    """

    server: Mapping[str, str]
    clients: Mapping[str, Mapping[str, str]]
    runs_dir: Path
    derived: Collection[str]
    problems: Sequence[str]
    pki: PkiSettings | None
    root: Path = ROOT
    needs_all: bool = False
    program: str = "server"
    counted: str = "CLIENTS"
    nodes: int = 0

    def explain(self, problem: str) -> str:
        """Add to a problem of the server's settings where the value comes from if the user did not set it."""
        name = problem.partition("=")[0]
        if name not in self.derived:
            return problem
        return f"{problem} ({name} follows {self.counted} unless it is set)"

    def rename(self, text: str) -> str:
        """Name CLIENTS, which the user can set, where a text names a number that follows it."""
        for name in self.derived:
            if self.server.get(name) == str(self.nodes):
                text = re.sub(rf"\b{name}\b", self.counted, text)
        return text


@dataclass(frozen=True)
class _AllSettings(LocalSettings, ServerSettings, ClientSettings):
    """Every setting of every program, so that all problems are reported at once."""


def make_plan(environ: Mapping[str, str]) -> Plan:
    """Build the environments of the programs from the user's, which is passed on."""
    given = {name for name, text in environ.items() if text.strip()}
    settings, clients, problems = _load_clients(environ, given)
    pki_dir = ROOT / settings.pki_dir
    server_certs, site_certs = pki_dir / "server", pki_dir / "sites" / LOCAL_SITE
    if "CERTS_DIR" in given:
        server_certs = site_certs = settings.certs_dir
    everyone = {
        **environ,
        # A line is shown as soon as it is written.
        "PYTHONUNBUFFERED": "1",
        "LISTEN_ADDRESS": str(settings.listen_address),
        "SERVER_ADDRESS": str(settings.listen_address.reachable_locally()),
    }
    return Plan(
        server={**everyone, "CERTS_DIR": str(server_certs), **_choose_for_server(settings, given)},
        clients={
            name: {**everyone, "CERTS_DIR": str(site_certs), "NODE_NAME": name, **own}
            for name, own in clients.items()
        },
        runs_dir=ROOT / settings.runs_dir,
        derived={"MIN_CLIENTS", "NUM_PARTITIONS"} - given,
        problems=problems or _find_shortages(settings, given),
        pki=_make_pki(settings, pki_dir) if settings.link_security == "mtls" else None,
        needs_all="MIN_CLIENTS" not in given and has_placeholder(environ.get("DATA_DIR", "")),
        nodes=len(clients),
    )


def check(plan: Plan) -> None:
    """Check the settings of all programs.

    Raises:
        SettingsError: the plan has problems; the error has those that the server alone can find, too.
    """
    if not plan.problems:
        return
    from server.problems import find_problems  # noqa: PLC0415 - it imports Flower, which takes long, and is rarely needed

    found: Sequence[str] = []
    try:
        load(ServerSettings, find_problems, environ=plan.server)
    except SettingsError as error:
        found = error.problems
    raise SettingsError(dict.fromkeys([*plan.problems, *map(plan.explain, found)]))


def load_valid(kind: type[S], environ: Mapping[str, str]) -> tuple[S, Sequence[str]]:
    """Load all settings; one that is invalid has its default and is a problem."""
    try:
        return load(kind, environ=environ), []
    except SettingsError as error:
        invalid = {problem.partition("=")[0] for problem in error.problems}
        rest = {name: text for name, text in environ.items() if name not in invalid}
        return load(kind, environ=rest), error.problems


def _load_clients(
    environ: Mapping[str, str], given: Collection[str]
) -> tuple[_AllSettings, Mapping[str, Mapping[str, str]], Sequence[str]]:
    """Load all settings, and decide which clients there are.

    Returns:
        The settings, the clients' own settings by their names, and problems.
    """
    data_dir = environ.get("DATA_DIR", "").strip()
    if not has_placeholder(data_dir):
        settings, problems = load_valid(_AllSettings, environ)
        return settings, {name: {} for name in _name_clients(settings)}, problems
    settings, found = load_valid(_AllSettings, {**environ, "DATA_DIR": ""})
    problems = list(found)
    is_number_given = "CLIENTS" in given and not any(problem.startswith("CLIENTS=") for problem in found)
    sites: Mapping[str, Path] = {}
    try:
        sites = find_sites(data_dir, settings.clients if is_number_given else None, ROOT)
        settings = dataclasses.replace(settings, clients=len(sites))
    except SettingsError as error:
        problems.extend(error.problems)
    problems.extend(_find_contradictions(settings, given, data_dir))
    settings = dataclasses.replace(settings, partition=PartitionRule("none"))
    return settings, {name: {"DATA_DIR": str(folder)} for name, folder in sites.items()}, problems


def _find_contradictions(settings: _AllSettings, given: Collection[str], data_dir: str) -> Iterator[str]:
    """Yield a problem for each setting that is the opposite of a folder for each client."""
    if "PARTITION" in given and settings.partition.is_shared:
        yield (
            f"PARTITION={settings.partition}: divides one dataset among all clients, but DATA_DIR={data_dir}"
            " has data of its own for each; expected none, or no PARTITION"
        )
    if "NODE_NAME" in given:
        yield (
            f"NODE_NAME={settings.node_name}: with DATA_DIR={data_dir}, each client has the name of its"
            " folder; expected no NODE_NAME"
        )
    if 0 < settings.num_partitions < settings.clients:
        yield (
            f"NUM_PARTITIONS={settings.num_partitions}: with DATA_DIR={data_dir}, the data of each client is"
            f" its own, and CLIENTS={settings.clients} would not all take part; expected no NUM_PARTITIONS"
        )


def _choose_for_server(settings: _AllSettings, given: Collection[str]) -> dict[str, str]:
    """Choose the settings of the server that follow those of `make run`, unless the user set them."""
    chosen = {"NUM_ROUNDS": str(settings.num_rounds)}
    if not settings.partition.is_shared:
        # A placeholder in DATA_DIR may imply it.
        chosen["PARTITION"] = str(settings.partition)
    if "MIN_CLIENTS" not in given:
        chosen["MIN_CLIENTS"] = str(min(settings.clients, settings.num_partitions or settings.clients))
    if settings.partition.is_shared and "NUM_PARTITIONS" not in given:
        chosen["NUM_PARTITIONS"] = str(settings.clients)
    return chosen


def _name_clients(settings: _AllSettings) -> list[str]:
    return [f"{settings.node_name or 'client'}-{number}" for number in range(1, settings.clients + 1)]


def _make_pki(settings: _AllSettings, pki_dir: Path) -> PkiSettings:
    given = {field.name: getattr(settings, field.name) for field in dataclasses.fields(PkiSettings)}
    dialled = settings.listen_address.reachable_locally().host
    return PkiSettings(**{**given, "pki_dir": pki_dir, "server_names": (*settings.server_names, dialled)})


def _find_shortages(settings: _AllSettings, given: Collection[str]) -> list[str]:
    """Return a problem for each setting that makes the server wait for nodes that are not started."""
    awaited = {"MIN_CLIENTS": settings.min_clients, "NUM_PARTITIONS": settings.num_partitions}
    return [
        f"{name}={number}: make run starts CLIENTS={settings.clients}; expected at most that"
        for name, number in awaited.items()
        if name in given and number > settings.clients
    ]
