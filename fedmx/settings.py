"""The settings of the server and the client: names, defaults, meaning. No other module reads `os.environ`.

Those of a run are in `run_settings.py` and `hyperparameters.py`. `deployment_settings.py` has those of the
authority, and of what starts the programs.

An unset or blank value means the default, and all invalid values are reported together. `make settings`
generates `.env`, the lists in the compose files, the tables of the docs and Flower's run config from the
classes of these modules.
"""

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from fedmx import parsing, texts
from fedmx.errors import SettingsError
from fedmx.fields import parse, setting
from fedmx.run_settings import RunSettings
from fedmx.sizes import parse_setting
from fedmx.values import Address

S = TypeVar("S")

# The instruction sets for which oneDNN 2.4, which is part of MXNet 1.9.1, has kernels, oldest first.
CPU_ISAS = ("sse41", "avx", "avx2", "avx2_vnni", "avx512_core", "avx512_core_vnni", "avx512_core_bf16")

NOT_COMPARED = ("LISTEN_ADDRESS", "STATUS_ADDRESS", "CERTS_DIR", "RUNS_DIR", "RESUME")
"""Settings that depend on the machine or on how the server was started: no difference between runs."""

_positive = parsing.integer(at_least=1)
_runs_dir = partial(setting, Path("runs"), Path, "folder of the runs")
_status_address = partial(
    setting,
    None,
    Address.parse_optional,
    "host:port of the page that shows the run, and of its metrics; empty or off: none",
)


@dataclass(frozen=True)
class CommonSettings:
    """Settings of both the server and a client."""

    log_level: str = setting(
        "INFO",
        parsing.choice("DEBUG", "INFO", "WARNING", "ERROR"),
        "least severe log lines to write: DEBUG, INFO, WARNING or ERROR",
    )
    log_format: str = setting("text", parsing.choice("text", "json"), "format of log lines: text or json")
    max_model_bytes: int = setting(
        4 * 1024**3, _positive, "maximum bytes of arrays in a message; set it equal on both sides"
    )
    link_security: str = setting(
        "mtls",
        parsing.choice("mtls", "insecure"),
        "mtls: mutual TLS; insecure: no TLS, anyone can read the traffic and join",
    )


@dataclass(frozen=True)
class ServerSettings(CommonSettings, RunSettings):
    """Settings of the server."""

    listen_address: Address = setting(
        Address("127.0.0.1", 8080), Address.parse_listening, "host:port to listen on; port 0: a free one"
    )
    lease_grace: float = setting(
        120.0, parsing.seconds, "seconds to wait for a client that lost its connection"
    )
    link_stall_timeout: float = setting(
        60.0,
        parsing.number(at_least=1, at_most=1e9),
        "seconds without progress after which a message to or from a client is given up",
    )
    update_memory: int | None = setting(
        None,
        parse_setting,
        "bytes of updates that wait in memory, such as 512m; the others wait in a file in RUNS_DIR; empty: a"
        " quarter of the memory that the server may use",
    )
    certs_dir: Path = setting(Path(".fedmx/pki/server"), Path, "folder of the program's certificate and key")
    runs_dir: Path = _runs_dir()
    initial_model: Path | None = setting(
        None,
        Path,
        "model to start from: folder of a finished run, .npz or .params; empty: what the clients build",
    )
    keep_checkpoints: int = setting(3, _positive, "number of checkpoints to keep, in addition to the best")
    resume: str = setting(
        "auto",
        parsing.choice("auto", "never", "force"),
        "auto: resume an unfinished run with the same settings; force: with any; never: start a new run",
    )
    keep_runs: int = setting(
        0, parsing.integer(at_least=0), "number of earlier runs to keep when a new one starts; 0: all"
    )
    status_address: Address | None = _status_address()
    status_names: tuple[str, ...] = setting(
        (), parsing.host_names, "more host names by which browsers may open the page, separated by commas"
    )
    status_linger: float = setting(
        0.0, parsing.seconds, "seconds to wait after the run until Prometheus has read the final metrics"
    )
    tensorboard: str = setting(
        "off", parsing.choice("off", "on"), "whether to write TensorBoard's files, in RUNS_DIR/tensorboard"
    )
    mlflow_tracking_uri: str = setting(
        "", texts.server_address, "http(s) address of an MLflow server; empty: none", is_secret=True
    )
    mlflow_experiment_name: str = setting("fedmx", texts.title, "MLflow experiment that receives the runs")
    mlflow_tracking_username: str = setting("", str, "user name for the MLflow server")
    mlflow_tracking_password: str = setting("", str, "password for the MLflow server", is_secret=True)
    mlflow_tracking_token: str = setting("", texts.token, "token for the MLflow server", is_secret=True)
    on_end_command: str = setting(
        "", str, "shell command to execute when a run has ended, with a JSON object as its input"
    )
    on_end_webhook: str = setting(
        "", texts.web_address, "http(s) address to which the same JSON object is posted", is_secret=True
    )


@dataclass(frozen=True)
class ClientSettings(CommonSettings):
    """Settings of a client: who it is, where the server is, where its data is."""

    server_address: Address = setting(
        Address("127.0.0.1", 8080), Address.parse_peer, "host:port of the server"
    )
    server_wait_timeout: float = setting(
        300.0, parsing.seconds_or_unlimited, "seconds to wait for the server; 0: no limit"
    )
    certs_dir: Path = setting(
        Path(".fedmx/pki/sites/local"), Path, "folder of the program's certificate and key"
    )
    node_name: str = setting("", parsing.name, "name of the client; empty: its host name and a counter")
    task: str = setting("client.tasks.mnist", parsing.word, "Python module with the model and the data")
    data_dir: Path = setting(
        Path("data/mnist"),
        parsing.folder,
        "folder with the client's data; with make run, {n} or {site} in it: another folder for each client",
    )
    data_cache: Path | None = setting(
        None,
        Path,
        "folder outside DATA_DIR that keeps decoded datasets for later processes of this user; empty: none",
    )
    min_group: int = setting(
        5, _positive, "fewest rows about which anything is revealed to the server when sites agree on columns"
    )
    device: str = setting(
        "auto", parsing.choice("auto", "cpu", "gpu"), "device to train on: auto, cpu or gpu"
    )
    gpu_index: tuple[int, ...] = setting(
        (),
        parsing.indices,
        "indices of the visible GPUs to train on at once, separated by commas; empty: one GPU, chosen by the"
        " partition",
    )
    client_threads: int = setting(
        1, parsing.threads, "number of MXNet's OpenMP threads; auto: the cores that the client may use"
    )
    cpu_isa: str = setting(
        "avx2",
        parsing.choice("native", *CPU_ISAS),
        f"newest CPU instructions that MXNet uses: {', '.join(CPU_ISAS)}; native: all that the CPU has",
    )
    link_proxy: Address | None = setting(
        None, Address.parse_peer, "host:port of an HTTP proxy to connect through; empty: none"
    )


@dataclass(frozen=True)
class ModelSettings:
    """Settings of the commands that use the model of a finished run."""

    runs_dir: Path = _runs_dir()


@dataclass(frozen=True)
class WatchSettings:
    """Settings of `python -m server watch`."""

    status_address: Address | None = _status_address()


def load(
    kind: type[S],
    *checks: Callable[[S], Iterable[str]],
    environ: Mapping[str, str] | None = None,
) -> S:
    """Parse settings from the environment.

    Args:
        kind: the settings class.
        checks: further checks; each returns the problems that it finds, one line each.
        environ: the variables to parse; by default those of the process.

    Raises:
        SettingsError: with every problem of every setting, one line each.
    """
    settings, problems = parse(kind, os.environ if environ is None else environ)
    for check in checks:
        problems.extend(check(settings))
    if problems:
        raise SettingsError(problems)
    return settings


def environment() -> dict[str, str]:
    """Return a copy of this process's environment, for a child process."""
    return dict(os.environ)


def find_ready_fd() -> int | None:
    """Return the file descriptor READY_FD, which a parent process passes on, and remove it for children."""
    text = os.environ.pop("READY_FD", "")
    return int(text) if text.isdecimal() else None
