"""What holds in a process of its own: threads, digests, memory, and that MXNet's process never forks."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fedmx.pki.authority import LOCAL_SITE
from tests.bounds import HANG_S
from tests.federation.programs import Federation, find_free_port, find_pki

ROOT = Path(__file__).parents[2]


def start(module: str, **settings: str) -> "subprocess.Popen[bytes]":
    kept = {key: os.environ[key] for key in ("PATH", "HOME", "LD_LIBRARY_PATH") if key in os.environ}
    command = [sys.executable, "-m", f"tests.client.given.{module}"]
    return subprocess.Popen(command, cwd=ROOT, env=kept | settings, stdout=subprocess.PIPE)


def read(process: "subprocess.Popen[bytes]") -> dict[str, Any]:
    output, _ = process.communicate(timeout=HANG_S)
    assert process.returncode == 0
    facts: dict[str, Any] = json.loads(output)
    return facts


@pytest.fixture(scope="module")
def processes() -> list[dict[str, Any]]:
    """Give what three processes found: two with one thread, whatever the shell exported, and one with two."""
    shells: tuple[dict[str, str], ...] = (
        {},
        {"OMP_NUM_THREADS": "7", "CLIENT_THREADS": ""},
        {"OMP_NUM_THREADS": "1", "CLIENT_THREADS": "2"},
    )
    return [read(process) for process in [start("digests", **shell) for shell in shells]]


def test_client_threads_wins_over_what_the_shell_exported(processes: list[dict[str, Any]]) -> None:
    assert [facts["OMP_NUM_THREADS"] for facts in processes] == ["1", "1", "2"]
    assert [facts["omp_get_max_threads"] for facts in processes] == [1, 1, 2]


def test_mxnet_finds_the_name_that_numpy_dropped(processes: list[dict[str, Any]]) -> None:
    assert all(facts["numpy.bool is bool"] for facts in processes)


def test_the_line_that_the_readme_names_makes_mxnet_importable_anywhere(tmp_path: Path) -> None:
    line = "import numpy; numpy.bool = bool"
    assert line in (ROOT / "docs" / "output.md").read_text()
    program = f"{line}\nimport mxnet\nprint(mxnet.nd.ones(3).sum().asscalar())"
    command = [sys.executable, "-I", "-c", program]
    done = subprocess.run(command, cwd=tmp_path, env={}, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "3.0\n"), done.stderr


@pytest.mark.parametrize("net", ["dense", "convolution"])
def test_initial_arrays_are_the_same_in_every_process_with_any_number_of_threads(
    processes: list[dict[str, Any]], net: str
) -> None:
    for name in ("initial-0", "initial-1"):
        assert len({facts[net][name] for facts in processes}) == 1
    assert processes[0][net]["initial-0"] != processes[0][net]["initial-1"]


@pytest.mark.parametrize("net", ["dense", "convolution"])
def test_training_is_bit_identical_in_two_processes(processes: list[dict[str, Any]], net: str) -> None:
    first, second, _ = processes
    assert first[net]["trained"] == second[net]["trained"] != first[net]["initial-0"]


def test_memory_does_not_grow_from_message_to_message() -> None:
    resident = read(start("growth"))
    assert resident["after-20"] < 1.2 * resident["after-3"]


def test_a_library_that_mxnet_is_linked_to_and_is_missing_is_one_line(tmp_path: Path) -> None:
    # A package of the same name, which loads what the real one does where nothing is missing.
    (tmp_path / "mxnet.py").write_text("import ctypes\nctypes.CDLL('libquadmath-nowhere.so.0')\n")
    command = [sys.executable, "-m", "client"]
    settings = {"PATH": os.environ["PATH"], "PYTHONPATH": str(tmp_path), "LINK_SECURITY": "insecure"}
    done = subprocess.run(command, cwd=ROOT, env=settings, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].endswith(
        "ERROR   MXNet cannot be loaded: libquadmath-nowhere.so.0: cannot open shared object file:"
        " No such file or directory; expected the libraries that its package is linked to:"
        " Dockerfile.client shows how to install them"
    )
    assert "Traceback" not in done.stderr


@pytest.fixture
def federation(tmp_path: Path) -> Iterator[Federation]:
    made = Federation(tmp_path, find_free_port())
    yield made
    made.end()


def test_a_client_starts_no_process_from_its_first_line_to_its_last(federation: Federation) -> None:
    server = federation.start_server(NUM_PARTITIONS=1, MIN_CLIENTS=1, NUM_ROUNDS=2)
    client = start(
        "watched_client",
        SERVER_ADDRESS=federation.address,
        CERTS_DIR=str(find_pki() / "sites" / LOCAL_SITE),
        TASK="tests.client.given.clusters",
    )
    output, _ = client.communicate(timeout=HANG_S)
    assert (client.returncode, server.wait()) == (0, 0), federation.logs
    before, begins, after = output.decode().partition("the client begins\n")
    assert begins
    assert "started a process: subprocess.Popen ('true',)" in before
    assert "started a process" not in after
