"""MXNet in a process of its own: threads, digests, memory, restored names of numpy, and no forks."""

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from client.mx import _hiding
from client.numpy_names import restore_names
from fedmx.pki.authority import LOCAL_SITE
from tests.bounds import HANG_S
from tests.federation.programs import Federation, find_pki
from tests.pages import find_code
from tests.ports import find_free_port

ROOT = Path(__file__).parents[2]
IS_NUMPY_2 = np.lib.NumpyVersion(np.__version__) >= "2.0.0"


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
    """Return facts of three processes: two with one thread, whatever the shell exported, and one with two."""
    shells: tuple[dict[str, str], ...] = (
        {},
        {"OMP_NUM_THREADS": "7", "CLIENT_THREADS": ""},
        {"OMP_NUM_THREADS": "1", "CLIENT_THREADS": "2"},
    )
    return [read(process) for process in [start("digests", **shell) for shell in shells]]


def test_client_threads_wins_over_what_the_shell_exported(processes: list[dict[str, Any]]) -> None:
    assert [facts["OMP_NUM_THREADS"] for facts in processes] == ["1", "1", "2"]
    assert [facts["omp_get_max_threads"] for facts in processes] == [1, 1, 2]


def test_mxnet_finds_the_name_that_numpy_removed(processes: list[dict[str, Any]]) -> None:
    assert all(facts["numpy.bool is a boolean type"] for facts in processes)


def test_mxnet_is_imported_without_the_statistics_of_scipy(processes: list[dict[str, Any]]) -> None:
    assert not any(facts["scipy.stats is imported"] for facts in processes)


def test_a_hidden_module_can_be_imported_afterwards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "costly.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    with _hiding("costly"), pytest.raises(ImportError):
        importlib.import_module("costly")
    costly = importlib.import_module("costly")
    with _hiding("costly"):
        assert importlib.import_module("costly") is costly
    monkeypatch.delitem(sys.modules, "costly")


@pytest.mark.skipif(IS_NUMPY_2, reason="the documentation's line is for numpy 1.26")
def test_the_line_in_the_documentation_makes_mxnet_importable_anywhere(tmp_path: Path) -> None:
    line = "import numpy; numpy.bool = bool"
    assert line in (ROOT / "docs" / "reference" / "files.md").read_text()
    program = f"{line}\nimport mxnet\nprint(mxnet.nd.ones(3).sum().asscalar())"
    command = [sys.executable, "-I", "-c", program]
    done = subprocess.run(command, cwd=tmp_path, env={}, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "3.0\n"), done.stderr


def test_the_task_in_the_readme_runs_as_a_program_of_its_own(tmp_path: Path) -> None:
    task = find_code("# my_task.py, in this folder")
    (tmp_path / "my_task.py").write_text(
        f"{task}\nnet = build_model()\nnet.initialize()\n"
        "from client.mx import mx\nprint(net(mx.nd.ones((1, 4))).shape)\n"
    )
    for package in ("client", "fedmx"):
        (tmp_path / package).symlink_to(ROOT / package)
    command = [sys.executable, "my_task.py"]
    done = subprocess.run(command, cwd=tmp_path, env={}, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "(1, 2)\n"), done.stderr


@pytest.mark.parametrize(
    ("name", "arguments", "expected"),
    [
        ("in1d", ([[1, 2], [3, 4]], [2, 3]), [False, True, True, False]),
        ("msort", ([[3, 1], [2, 4]],), [[2, 1], [3, 4]]),
        ("trapz", ([1.0, 2.0, 3.0],), 4.0),
        ("row_stack", ([[1, 2], [3, 4]],), [[1, 2], [3, 4]]),
        ("cumproduct", ([1, 2, 3],), [1, 2, 6]),
        ("alltrue", ([1, 0],), False),
        ("sometrue", ([1, 0],), True),
    ],
)
# numpy 1.26 still has some of them, which warn.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_restored_functions_of_numpy_return_what_they_did(
    name: str, arguments: tuple[Any, ...], expected: Any
) -> None:
    restore_names()
    assert np.array_equal(getattr(np, name)(*arguments), expected)


@pytest.mark.parametrize("kind", [complex, float, int, object, str])
def test_restored_aliases_of_pythons_types_are_these_types(kind: type) -> None:
    restore_names()
    assert getattr(np, kind.__name__) is kind


def test_restored_financial_functions_refuse_to_compute_and_name_themselves() -> None:
    restore_names()
    with pytest.raises(NotImplementedError, match=r"numpy\.npv"):
        np.npv(0.1, [1.0])  # type: ignore[attr-defined]


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


@pytest.mark.slow
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
