"""Runs on a SuperLink of Flower's: what a user gets wrong, and what ends or interrupts a run."""

import json
import os
import signal
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from fedmx import __version__
from fedmx.run_state import STOPPED
from server.record.runs import RunsFolder
from tests.bounds import HANG_S
from tests.federation.fleet import Fleet
from tests.federation.programs import TASKS, Federation, Program
from tests.ports import find_free_port

# Longer than any test stops a run after.
_MANY = 100_000


@pytest.fixture(scope="module")
def superlink(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """A SuperLink without SuperNodes."""
    fleet = Fleet(tmp_path_factory.mktemp("fleet"))
    fleet.start_superlink()
    yield fleet
    fleet.end()


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    """A SuperLink and two SuperNodes."""
    status = f"127.0.0.1:{find_free_port()}"
    folders = {"DATA_DIR": tmp_path / "data", "DATA_CACHE": tmp_path / "cache"}
    folders["DATA_DIR"].mkdir()
    made = Fleet(tmp_path, {"STATUS_ADDRESS": status, "LEASE_GRACE": 5, **folders})
    made.start_superlink()
    for _ in range(2):
        made.start_supernode()
    yield made
    made.end()


def list_lines(log: str) -> list[str]:
    """Return what a run's log has after Flower's lines about its start."""
    lines = [line for line in log.splitlines() if line.strip()]
    return [line for line in lines if "INFO" not in line and not line.startswith(("Using", "Success"))]


def check_failure(fleet: Fleet, line: str, expected: str) -> None:
    """Check that a failed run has one line in its log, and as its status at the SuperLink."""
    assert expected in line
    newest = fleet.list_runs()[0]
    assert newest["status"] == "finished:failed"
    assert expected in newest["status-details"]


@pytest.mark.slow
@pytest.mark.timeout(10 * HANG_S)
def test_what_a_user_gets_wrong_is_one_line_of_the_runs_log_and_its_status(superlink: Fleet) -> None:
    (line,) = list_lines(superlink.run(num_rounds=0))
    check_failure(superlink, line, "NUM_ROUNDS='0': expected")
    (line,) = list_lines(superlink.run(client_wait_timeout=0.5))
    check_failure(superlink, line, "0 of 2 nodes were ready")


@pytest.mark.slow
@pytest.mark.timeout(10 * HANG_S)
def test_a_runs_folder_that_is_in_use_or_cannot_be_written_is_one_line(superlink: Fleet) -> None:
    with RunsFolder(superlink.runs_dir):
        (line,) = list_lines(superlink.run())
    check_failure(superlink, line, "another server writes in this folder")
    superlink.runs_dir.rename(superlink.folder / "before")
    superlink.runs_dir.write_text("a file")
    (line,) = list_lines(superlink.run())
    check_failure(superlink, line, f"RUNS_DIR={superlink.runs_dir}: ")


@pytest.mark.slow
def test_flower_refuses_a_name_that_is_not_of_the_run_config(superlink: Fleet) -> None:
    assert "Invalid run configuration" in superlink.run(learning_rat=0.1)


def read_status(fleet: Fleet) -> dict[str, Any]:
    with urllib.request.urlopen(
        f"http://{fleet.settings['STATUS_ADDRESS']}/status.json", timeout=HANG_S
    ) as got:
        found: dict[str, Any] = json.load(got)
        return found


def wait_for_round(fleet: Fleet, run: Program, number: int = 1) -> None:
    run.wait_for(rf"round finished round={number}\b", 5 * HANG_S)


def wait_for_end(fleet: Fleet) -> dict[str, Any]:
    """Wait until a run on disk is over, and return its facts."""
    deadline = time.monotonic() + HANG_S
    while fleet.facts["status"] == "running":
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return fleet.facts


@pytest.mark.slow
@pytest.mark.timeout(20 * HANG_S)
def test_a_run_is_the_one_of_the_direct_link_and_shows_itself_while_it_trains(
    fleet: Fleet, federation: Federation
) -> None:
    run = fleet.start_run(num_rounds=2)
    run.wait_for("run started", 5 * HANG_S)
    shown = read_status(fleet)
    # The log is the first to know that the run has started.
    assert shown["state"] in ("waiting", "running")
    assert {node["name"]: node["state"] for node in shown["nodes"]} == dict.fromkeys(
        fleet.facts["nodes"], "ready"
    )
    assert run.wait(5 * HANG_S) == 0
    facts, history = fleet.facts, fleet.history
    assert facts["status"] == "finished"
    assert [node["bytes_up"] for line in history for node in line["nodes"]] == [None] * 4
    assert len(list((fleet.folder / "cache").rglob("manifest.json"))) == 1

    settings: dict[str, object] = {"TASK": "tiny_task", "DEVICE": "cpu"}
    assert federation.run(client_settings=settings, NUM_ROUNDS=2) == 0, federation.logs
    assert facts["model_sha256"] == federation.facts["model_sha256"]


@pytest.mark.slow
@pytest.mark.timeout(20 * HANG_S)
def test_a_stopped_run_is_interrupted_and_a_killed_one_is_resumed(fleet: Fleet) -> None:
    run = fleet.start_run(num_rounds=_MANY)
    wait_for_round(fleet, run)
    fleet.call("stop", str(fleet.list_runs()[0]["run-id"]), "here")
    stopped = wait_for_end(fleet)
    assert (stopped["status"], stopped["reason"]) == ("interrupted", STOPPED)

    # The nodes may still work for the stopped run.
    run = fleet.start_run(num_rounds=_MANY)
    wait_for_round(fleet, run)
    second = fleet.facts
    assert (second["status"], second["resumed"]) == ("running", [])
    assert second["run_id"] != stopped["run_id"]
    (app,) = [
        each for each in psutil.process_iter(["cmdline", "environ"]) if is_server_app(each, fleet.runs_dir)
    ]
    os.kill(app.pid, signal.SIGKILL)

    rounds = len(fleet.history) + 1
    run = fleet.start_run(num_rounds=rounds)
    assert run.wait(8 * HANG_S) == 0
    third = fleet.facts
    assert (third["status"], third["run_id"], third["rounds"]) == ("finished", second["run_id"], rounds)
    assert len(third["resumed"]) == 1


def is_server_app(process: psutil.Process, runs_dir: Path) -> bool:
    try:
        return any(word.endswith("flwr-serverapp") for word in process.cmdline()) and process.environ().get(
            "RUNS_DIR"
        ) == str(runs_dir)
    except psutil.Error:
        return False


@pytest.mark.slow
@pytest.mark.timeout(20 * HANG_S)
def test_a_node_that_left_is_replaced_and_one_with_other_packages_is_refused_by_name(
    fleet: Fleet, tmp_path: Path
) -> None:
    run = fleet.start_run(num_rounds=_MANY, min_updates=1)
    wait_for_round(fleet, run)
    # A third node waits for a partition, with another version of fedmx.
    package = tmp_path / "other" / "fedmx-0.0.7.dist-info"
    package.mkdir(parents=True)
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: fedmx\nVersion: 0.0.7\n")
    fleet.start_supernode(PYTHONPATH=os.pathsep.join([str(TASKS), str(package.parent)]))
    fleet.programs[1].stop()
    line = run.wait_for(r"WARNING rejected a reply.*fedmx 0\.0\.7 is installed.*", 8 * HANG_S)
    assert f"expected fedmx {__version__}" in line
    newcomer = next(word for word in line.split() if word.startswith("node=")).removeprefix("node=")
    assert newcomer not in {node["name"] for node in fleet.history[0]["nodes"]}
    assert "Traceback" not in run.log
