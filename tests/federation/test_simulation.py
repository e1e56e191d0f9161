"""`make simulate`: the same apps and the same model on Flower's simulation engine, with the real Ray."""

import json
import re
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.bounds import HANG_S
from tests.federation.programs import ROOT, Federation, make_environment
from tests.ports import find_free_port
from tests.small_mnist import write_small_mnist
from tests.tools import find_tool_python

pytestmark = pytest.mark.timeout(3 * HANG_S)


class Simulation:
    """The launcher of simulations, with a small dataset and a folder of runs."""

    def __init__(self, folder: Path) -> None:
        self.python = find_tool_python("simulation", "REQUIRE_SIMULATION")
        self.folder = folder
        self.data = folder / "mnist"
        self.started: list[subprocess.Popen[str]] = []
        write_small_mnist(self.data)

    def start(self, **settings: object) -> "subprocess.Popen[str]":
        own = {
            "RUNS_DIR": self.folder / "simulated",
            "DATA_DIR": self.data,
            "STATUS_ADDRESS": "off",
            "NODES": 2,
            "ROUNDS": 2,
        }
        process = subprocess.Popen(
            [self.python, "-m", "local.simulation"],
            cwd=ROOT,
            env=make_environment({**own, **settings}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.started.append(process)
        return process

    def run(self, **settings: object) -> tuple[int, str]:
        process = self.start(**settings)
        output, _ = process.communicate(timeout=2 * HANG_S)
        return process.returncode, output

    @property
    def facts(self) -> dict[str, Any]:
        facts: dict[str, Any] = json.loads((self.folder / "simulated" / "latest" / "run.json").read_text())
        return facts

    @property
    def history(self) -> list[dict[str, Any]]:
        path = self.folder / "simulated" / "latest" / "history.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def wait_until(self, is_true: Callable[[], object]) -> None:
        deadline = time.monotonic() + HANG_S
        while not is_true():
            assert time.monotonic() < deadline
            assert self.started[-1].poll() is None, self.started[-1].communicate()
            time.sleep(0.1)

    def end(self) -> None:
        for process in self.started:
            if process.poll() is None:
                process.terminate()
            process.communicate()


@pytest.fixture
def simulation(tmp_path: Path) -> Iterator[Simulation]:
    made = Simulation(tmp_path)
    yield made
    made.end()


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """A folder for Ray's sockets, whose paths have at most 107 characters."""
    with tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def list_descendants(pid: int) -> list[psutil.Process]:
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).children(recursive=True)
    return []


def list_workers(pid: int) -> list[psutil.Process]:
    found = []
    for process in list_descendants(pid):
        with suppress(psutil.NoSuchProcess):
            if "ClientAppActor" in "".join(process.cmdline()):
                found.append(process)
    return found


def is_alive(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def list_temporary_folders(pid: int) -> list[Path]:
    return list(Path("/tmp").glob(f"fedmx-{pid}-*"))  # noqa: S108 - where the launcher creates them


def test_two_nodes_train_the_same_model_as_on_the_direct_link_and_nothing_remains(
    simulation: Simulation, federation: Federation
) -> None:
    process = simulation.start()
    simulation.wait_until(lambda: list_temporary_folders(process.pid))
    output, _ = process.communicate(timeout=2 * HANG_S)
    assert process.returncode == 0, output
    assert not list_temporary_folders(process.pid)
    assert federation.run(NUM_ROUNDS=2, client_settings={"DATA_DIR": simulation.data}) == 0, federation.logs
    assert simulation.facts["model_sha256"] == federation.facts["model_sha256"]
    assert f"model_sha256: {federation.facts['model_sha256']}" in output
    steps = [(line["train"], line["evaluate"]) for line in simulation.history]
    assert steps == [(line["train"], line["evaluate"]) for line in federation.history]
    assert [node["name"] for node in simulation.history[0]["nodes"]] == ["local.node-1", "local.node-2"]
    assert not re.search("WARNING|DEPRECATED|Deprecat|raylet|dashboard", output), output


@pytest.mark.slow
def test_one_worker_that_trains_many_nodes_gives_the_model_of_a_process_for_each(
    simulation: Simulation, federation: Federation
) -> None:
    many = {"PARTITION": "dirichlet:0.5", "SEED": 3}
    code, output = simulation.run(NODES=6, SIMULATION_CPUS=2, FRACTION=0.5, **many)
    assert code == 0, output
    assert [len(line["nodes"]) for line in simulation.history] == [3, 3]
    arguments = {"STRATEGY_ARGS": '{"fraction_train": 0.5}', "NUM_ROUNDS": 2, **many}
    assert federation.run(clients=6, client_settings={"DATA_DIR": simulation.data}, **arguments) == 0, (
        federation.logs
    )
    assert simulation.facts["model_sha256"] == federation.facts["model_sha256"]


@pytest.mark.slow
def test_ctrl_c_ends_every_process_and_the_same_command_resumes_the_run(simulation: Simulation) -> None:
    process = simulation.start(ROUNDS=1000, LOCAL_EPOCHS=1)
    simulation.wait_until(lambda: simulation.history)
    descendants = list_descendants(process.pid)
    assert len(list_workers(process.pid)) >= 1
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=HANG_S)
    assert process.returncode == 130, output
    assert "unfinished" in output
    # The kernel takes a while to end a process that was killed.
    deadline = time.monotonic() + HANG_S
    while any(map(is_alive, descendants)):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert simulation.facts["status"] == "interrupted"
    done = len(simulation.history)
    code, output = simulation.run(ROUNDS=done + 1, LOCAL_EPOCHS=1)
    assert code == 0, output
    assert [line["round"] for line in simulation.history] == list(range(1, done + 2))


@pytest.mark.slow
def test_a_killed_worker_is_replaced_and_the_model_is_the_same(simulation: Simulation) -> None:
    settings = {"NODES": 4, "ROUNDS": 6, "LOCAL_EPOCHS": 2}
    code, output = simulation.run(**settings, RUNS_DIR=simulation.folder / "undisturbed")
    assert code == 0, output
    process = simulation.start(**settings)
    simulation.wait_until(lambda: simulation.history)
    workers = list_workers(process.pid)
    assert workers, "none is left to be killed"
    for worker in workers:
        worker.kill()
    output, _ = process.communicate(timeout=2 * HANG_S)
    assert process.returncode == 0, output
    undisturbed = json.loads((simulation.folder / "undisturbed" / "latest" / "run.json").read_text())
    assert simulation.facts["model_sha256"] == undisturbed["model_sha256"]


@pytest.mark.slow
def test_a_task_that_raises_an_exception_ends_the_run_with_its_reason(simulation: Simulation) -> None:
    code, output = simulation.run(TASK="raising_task")
    assert code == 4, output
    assert "TASK=raising_task" in output.splitlines()[-1]
    assert "Traceback" not in output


@pytest.mark.slow
def test_more_nodes_than_examples_are_one_line_before_the_run(simulation: Simulation) -> None:
    code, output = simulation.run(NODES=501, SIMULATION_CPUS=2)
    assert code == 2, output
    assert "NODES=501: " in output.splitlines()[-1]
    assert "rejected" not in output
    assert not (simulation.folder / "simulated" / "latest").exists()


def test_a_cluster_that_does_not_answer_and_a_missing_gpu_are_one_line_each(simulation: Simulation) -> None:
    address = f"127.0.0.1:{find_free_port()}"
    code, output = simulation.run(RAY_ADDRESS=address)
    assert code == 5, output
    (line,) = output.splitlines()
    assert f"RAY_ADDRESS={address}" in line
    code, output = simulation.run(SIMULATION_GPUS=1)
    assert code == 2, output
    (line,) = output.splitlines()
    assert "SIMULATION_GPUS=1" in line


@pytest.mark.slow
def test_a_running_cluster_trains_the_same_model_and_goes_on(
    simulation: Simulation, short_folder: Path
) -> None:
    port = find_free_port()
    ray = Path(simulation.python).with_name("ray")
    environ = make_environment({"RAY_USAGE_STATS_ENABLED": 0, "RAY_TMPDIR": short_folder})
    options = ["--head", f"--port={port}", "--num-cpus=2", "--include-dashboard=false", "--block"]
    # By default, workers have a range of ports, and no other port may be in it.
    options += ["--min-worker-port=0", "--max-worker-port=0"]
    head = subprocess.Popen(
        [str(ray), "start", *options],
        cwd=simulation.folder,
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        deadline = time.monotonic() + HANG_S
        code, output = simulation.run(RAY_ADDRESS=f"127.0.0.1:{port}")
        while code == 5:
            assert time.monotonic() < deadline
            assert head.poll() is None, head.communicate()
            code, output = simulation.run(RAY_ADDRESS=f"127.0.0.1:{port}")
        assert code == 0, output
        digest = simulation.facts["model_sha256"]
        assert head.poll() is None
        assert list_workers(head.pid) == []
        code, output = simulation.run()
        assert code == 0, output
        assert simulation.facts["model_sha256"] == digest
    finally:
        head.terminate()
        head.communicate()
