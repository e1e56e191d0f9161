"""All settings of both programs: names, defaults, meaning. The only place that touches `os.environ`.

A field `num_rounds` is the environment variable NUM_ROUNDS, and its alias ROUNDS. An unset or blank value
means the default, and all wrong values are reported together.
"""

import dataclasses
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from fedmx import __version__, parsing
from fedmx.errors import SettingsError
from fedmx.parsing import Address, PartitionRule

S = TypeVar("S")

# The instruction sets for which oneDNN 2.4, which is part of MXNet 1.9.1, has kernels, oldest first.
CPU_ISAS = ("sse41", "avx", "avx2", "avx2_vnni", "avx512_core", "avx512_core_vnni", "avx512_core_bf16")


def _setting(
    default: object,
    parse: Callable[[str], object],
    meaning: str,
    *,
    shapes_model: bool = False,
    alias: str = "",
) -> Any:
    """Declare a field.

    Args:
        default: its value where nothing is given.
        parse: how its text is read.
        meaning: one line for the docs.
        shapes_model: whether another value would have given another model.
        alias: another name of the variable, which wins.
    """
    metadata = {"parse": parse, "meaning": meaning, "shapes_model": shapes_model, "alias": alias}
    if isinstance(default, dict):
        return dataclasses.field(default_factory=default.copy, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


_positive = parsing.integer(at_least=1)
_count = parsing.integer(at_least=0)
_days = parsing.number(above=0, below=36_525)


@dataclass(frozen=True)
class CommonSettings:
    """What both programs are told."""

    log_level: str = _setting(
        "INFO", parsing.choice("DEBUG", "INFO", "WARNING", "ERROR"), "DEBUG, INFO, WARNING or ERROR"
    )
    log_format: str = _setting("text", parsing.choice("text", "json"), "text or json, one line an event")
    max_model_bytes: int = _setting(
        4 * 1024**3, _positive, "largest set of arrays, in bytes, that a message may carry"
    )
    link_security: str = _setting(
        "mtls",
        parsing.choice("mtls", "insecure"),
        "mtls: both sides show certificates; insecure: anyone can read along, and join",
    )


@dataclass(frozen=True)
class ServerSettings(CommonSettings):
    """What the server is told; hyperparameters live here and travel in every message."""

    num_rounds: int = _setting(3, _positive, "rounds of a run; ROUNDS is the same and wins", alias="ROUNDS")
    min_clients: int = _setting(2, _positive, "least number of nodes that a run starts with")
    min_updates: int = _setting(0, _count, "least number of admitted updates a round; 0: MIN_CLIENTS")
    num_partitions: int = _setting(
        0, _count, "partitions of a shared dataset, and nodes awaited; 0: those that joined at the start"
    )
    join_window: float = _setting(5.0, parsing.seconds, "seconds without a new node after which a run starts")
    client_wait_timeout: float = _setting(
        300.0, parsing.seconds_or_unlimited, "seconds to wait for enough nodes; 0: without limit"
    )
    round_timeout: float = _setting(
        600.0,
        parsing.seconds_or_unlimited,
        "seconds to wait for the replies of a round's step; 0: without limit",
    )
    lease_grace: float = _setting(120.0, parsing.seconds, "seconds to wait for a node whose stream is gone")
    strategy: str = _setting("fedavg", parsing.word, "aggregation strategy by name", shapes_model=True)
    strategy_args: Mapping[str, object] = _setting(
        {}, parsing.json_object, "its arguments, a JSON object", shapes_model=True
    )
    dp_mode: str = _setting(
        "off",
        parsing.choice("off", "dp-fixed", "dp-adaptive"),
        "differential privacy: off, dp-fixed, dp-adaptive",
        shapes_model=True,
    )
    dp_args: Mapping[str, object] = _setting(
        {}, parsing.json_object, "its arguments, a JSON object", shapes_model=True
    )
    dp_delta: float = _setting(
        1e-5,
        parsing.number(above=0, below=1),
        "delta at which the spent epsilon is computed",
        shapes_model=True,
    )
    local_epochs: int = _setting(2, _positive, "epochs a node trains in a round", shapes_model=True)
    batch_size: int = _setting(100, _positive, "examples a step", shapes_model=True)
    learning_rate: float = _setting(
        0.05, parsing.float32(parsing.number(above=0)), "of the nodes' SGD", shapes_model=True
    )
    momentum: float = _setting(
        0.9, parsing.float32(parsing.number(at_least=0, below=1)), "of the nodes' SGD", shapes_model=True
    )
    proximal_mu: float = _setting(
        0.0,
        parsing.float32(parsing.number(at_least=0)),
        "weight of FedProx's proximal term",
        shapes_model=True,
    )
    partition: PartitionRule = _setting(
        PartitionRule("iid"),
        PartitionRule.parse,
        "iid, dirichlet:ALPHA, labels:K, shards:K, or none (each site's own data)",
        shapes_model=True,
    )
    seed: int = _setting(0, _count, "of initial arrays, partitions, sampling and shuffles", shapes_model=True)
    listen_address: Address = _setting(
        Address("127.0.0.1", 8080),
        Address.parse_listening,
        "host:port the server listens on; port 0: a free one",
    )
    certs_dir: Path = _setting(
        Path(".fedmx/pki/server"), Path, "folder with this program's certificate and key"
    )
    runs_dir: Path = _setting(Path("runs"), Path, "folder that keeps the runs")
    keep_checkpoints: int = _setting(3, _positive, "newest checkpoints that are kept, beside the best")
    resume: str = _setting(
        "auto",
        parsing.choice("auto", "never", "force"),
        "an unfinished run: auto goes on with the same settings, force with any, never starts anew",
    )

    @property
    def least_updates(self) -> int:
        """The number of admitted updates below which a round has failed."""
        return self.min_updates or self.min_clients


@dataclass(frozen=True)
class ClientSettings(CommonSettings):
    """What a client is told: who it is, where the server is, where its data is."""

    server_address: Address = _setting(
        Address("127.0.0.1", 8080), Address.parse_peer, "host:port of the server"
    )
    server_wait_timeout: float = _setting(
        300.0, parsing.seconds_or_unlimited, "seconds to wait for the server; 0: without limit"
    )
    certs_dir: Path = _setting(
        Path(".fedmx/pki/sites/local"), Path, "folder with this program's certificate and key"
    )
    node_name: str = _setting("", parsing.name, "this node's name; empty: host name, and a counter")
    task: str = _setting("client.tasks.mnist", parsing.word, "Python module with the model and the data")
    data_dir: Path = _setting(Path("data/mnist"), Path, "folder with this node's data")
    device: str = _setting("auto", parsing.choice("auto", "cpu", "gpu"), "auto, cpu or gpu")
    gpu_index: int | None = _setting(
        None, _count, "which of the visible GPUs to train on; empty: one by the node's partition"
    )
    client_threads: int = _setting(
        1, parsing.threads, "OMP threads of MXNet; auto: the cores this process may use"
    )
    cpu_isa: str = _setting(
        "avx2",
        parsing.choice("native", *CPU_ISAS),
        f"newest CPU instructions for MXNet: {', '.join(CPU_ISAS)}; native: all that the CPU has",
    )
    link_proxy: Address | None = _setting(
        None, Address.parse_peer, "HTTP proxy host:port to dial through; empty: none"
    )


@dataclass(frozen=True)
class PkiSettings:
    """What `python -m server pki` is told."""

    pki_dir: Path = _setting(Path(".fedmx/pki"), Path, "folder of the authority and of what it makes")
    server_names: tuple[str, ...] = _setting(
        (),
        parsing.host_names,
        "names by which clients elsewhere dial the server, added to those it has; -NAME removes one",
    )
    authority_days: float = _setting(3650.0, _days, "days that the authority is valid")
    certificate_days: float = _setting(365.0, _days, "days that certificates are valid")
    renew_days: float = _setting(
        30.0, parsing.number(at_least=0), "days before a certificate's end when it is made anew"
    )
    compose_project_name: str = _setting(
        "fedmx", parsing.name, "name of the federation's containers, volumes and images"
    )
    fedmx_version: str = _setting(__version__, parsing.name, "version of the images")


@dataclass(frozen=True)
class LocalSettings(PkiSettings):
    """What `make run` is told beside the settings of the programs it starts."""

    clients: int = _setting(2, parsing.integer(at_least=1, at_most=1_000), "clients to start")


def load(
    kind: type[S],
    *checks: Callable[[S], Iterable[str]],
    environ: Mapping[str, str] | None = None,
) -> S:
    """Read settings from the environment.

    Args:
        kind: the settings class.
        checks: further rules, each giving the problems it sees in the settings as lines.
        environ: read instead of the process's environment.

    Raises:
        SettingsError: with every problem of every setting, one line each.
    """
    environ = os.environ if environ is None else environ
    values: dict[str, object] = {}
    problems: list[str] = []
    for field in dataclasses.fields(kind):  # type: ignore[arg-type]
        name, text = _find_text(field, environ)
        if not text:
            continue
        try:
            values[field.name] = field.metadata["parse"](text)
        except ValueError as error:
            problems.append(f"{name}={text!r}: {error}")
    # A setting that could not be read has its default here, so that the other rules are still checked.
    settings = kind(**values)
    for check in checks:
        problems.extend(check(settings))
    if problems:
        raise SettingsError(problems)
    return settings


def _find_text(field: "dataclasses.Field[object]", environ: Mapping[str, str]) -> tuple[str, str]:
    """Return the name under which a setting is given, and its text; empty where it is not given."""
    for name in (field.metadata["alias"], field.name.upper()):
        if text := environ.get(name, "").strip():
            return name, text
    return field.name.upper(), ""


def describe(settings: object) -> dict[str, object]:
    """Give settings by their environment names, as values that JSON can hold."""
    fields = dataclasses.fields(settings)  # type: ignore[arg-type]
    return {field.name.upper(): _as_json(getattr(settings, field.name)) for field in fields}


def explain(settings: object) -> Iterator[tuple[str, object, str]]:
    """Give settings by their environment names, with what each means."""
    values = describe(settings)
    for field in dataclasses.fields(settings):  # type: ignore[arg-type]
        yield field.name.upper(), values[field.name.upper()], field.metadata["meaning"]


def describe_model(settings: ServerSettings) -> dict[str, object]:
    """Give the settings that shape the model, as `describe` does."""
    fields = dataclasses.fields(settings)
    return {f.name.upper(): _as_json(getattr(settings, f.name)) for f in fields if f.metadata["shapes_model"]}


def environment() -> dict[str, str]:
    """Give a copy of this process's environment, to hand to a child process."""
    return dict(os.environ)


def silence_libraries() -> None:
    """Turn off what libraries send, ask and print by themselves; they look at their first import.

    Flower has telemetry and a check for updates. gRPC prints a line for every handshake that fails, so that
    whoever reaches an open port could fill the log.
    """
    os.environ["FLWR_TELEMETRY_ENABLED"] = "0"
    os.environ["FLWR_DISABLE_UPDATE_CHECK"] = "1"
    os.environ["GRPC_VERBOSITY"] = "ERROR"


def set_omp_threads(count: int) -> None:
    """Fix the number of OMP threads; MXNet reads it at its first import.

    Two runs are bit-identical only with the same number, so CLIENT_THREADS wins over what a shell exported.
    """
    os.environ["OMP_NUM_THREADS"] = str(count)


def set_cpu_isa(isa: str) -> None:
    """Limit the CPU instructions that oneDNN uses; it reads the limit when MXNet first computes.

    oneDNN chooses kernels by CPU, and each set of kernels gives a model other last bits.

    Args:
        isa: one of `CPU_ISAS`, or `native` for no limit.
    """
    # oneDNN silently ignores a name in lower case.
    os.environ["DNNL_MAX_CPU_ISA"] = "ALL" if isa == "native" else isa.upper()


def _as_json(value: object) -> object:
    if value is None:
        return ""
    if value == math.inf:
        return 0.0  # as it is written: JSON has no infinity
    if isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, tuple):
        return ",".join(value)
    return str(value)
