"""`docker compose up --scale client=N` trains, every container exits 0, and the model is on the volume."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import TypeAlias

import onnxruntime
import pytest
from flwr.app import Array, ArrayRecord

from client.tasks.mnist import load_data
from fedmx import arrays
from tests.compose.stack import PATIENCE_S, ROOT, Stack
from tests.federation.programs import Federation
from tests.ports import find_free_port

pytestmark = pytest.mark.compose

Finished: TypeAlias = "tuple[Stack, subprocess.CompletedProcess[str]]"


@pytest.fixture(scope="module")
def finished(shared_stack: Stack) -> Finished:
    return shared_stack, shared_stack.up("--scale", "client=2", JOIN_WINDOW="")


def test_every_container_exits_0(finished: Finished) -> None:
    stack, up = finished
    assert up.returncode == 0, up.stdout
    ends = sorted((container.service, container.exit_code) for container in stack.containers())
    assert ends == [("client", 0), ("client", 0), ("outcome", 0), ("pki", 0), ("server", 0)]
    assert "Traceback" not in stack.log()


def test_no_program_of_the_run_has_access_to_the_authority(finished: Finished) -> None:
    stack, _ = finished
    mounts = {container.service: container.mounts for container in stack.containers()}
    assert mounts == {
        "pki": {
            ("authority", "/pki", True),
            ("server-certs", "/pki/server", True),
            ("local-certs", "/pki/sites/local", True),
            # For the event log.
            ("runs", "/runs", False),
        },
        "server": {("runs", "/runs", True), ("server-certs", "/certs", False)},
        "client": {("local-certs", "/certs", False)},
        "outcome": set(),
    }
    listing = stack.run_alone("server", "ls", "-A", "/pki/server", "/pki/sites/local").stdout
    assert listing.split() == ["/pki/server:", "/pki/sites/local:"]
    listing = stack.run_alone("server", "ls", "-A", "/certs").stdout
    assert listing.split() == ["authority.crt", "revoked.txt", "server.crt", "server.key"]
    listing = stack.run_alone("client", "ls", "-A", "/certs").stdout
    assert listing.split() == ["authority.crt", "site.crt", "site.key"]


def test_the_model_is_on_the_volume_and_accurate(
    finished: Finished,
) -> None:
    stack, _ = finished
    run = stack.read_run()
    assert (run["status"], run["rounds"]) == ("finished", 3)
    record = ArrayRecord({name: Array(array) for name, array in stack.read_model().items()})
    assert arrays.sha256(record) == run["model_sha256"]
    assert [line["evaluate"]["num_examples"] for line in stack.read_history()] == [10_000] * 3
    assert stack.read_history()[-1]["evaluate"]["metrics"]["accuracy"] >= 0.97


def test_the_run_is_listed_and_shown_from_the_volume(finished: Finished) -> None:
    stack, _ = finished
    listed = stack.make("runs", "FROM=containers", "ARGS=--json")
    assert listed.returncode == 0, listed.stderr
    (run,) = json.loads(listed.stdout)
    assert (run["status"], run["rounds"]) == ("finished", 3)
    shown = stack.run_alone("server", "python", "-m", "server", "runs", "show", "latest")
    assert shown.returncode == 0, shown.stdout
    assert run["model_sha256"] in shown.stdout
    removed = stack.make("runs", "FROM=containers", "ARGS=remove latest")
    assert "--yes" in removed.stderr


def test_each_replica_worked_on_its_own_partition(
    finished: Finished,
) -> None:
    stack, _ = finished
    names = {container.node for container in stack.containers("client")}
    for line in stack.read_history():
        assert [node["partition"] for node in line["nodes"]] == [0, 1]
        assert {node["name"] for node in line["nodes"]} == names


def test_the_model_is_the_same_as_without_containers(finished: Finished, tmp_path: Path) -> None:
    stack, _ = finished
    federation = Federation(tmp_path, find_free_port())
    assert federation.run() == 0
    assert federation.facts["model_sha256"] == stack.read_run()["model_sha256"]


def test_it_trains_again_after_down_with_and_without_the_volume(
    stack: Stack,
) -> None:
    quick = {"NUM_ROUNDS": 1, "LOCAL_EPOCHS": 1, "JOIN_WINDOW": 0}
    for removal, runs in ((["down"], 1), (["down", "--volumes"], 2), (["down"], 1)):
        up = stack.up("--scale", "client=2", **quick)
        assert up.returncode == 0, up.stdout
        folder = stack.copy_runs()
        assert (
            len([path for path in folder.parent.glob("*/model.npz") if not path.parent.is_symlink()]) == runs
        )
        shutil.rmtree(folder.parent)
        stack.run(*removal)


@pytest.mark.parametrize("count", [1, 5, 8])
def test_any_number_of_replicas_divides_the_data(stack: Stack, count: int) -> None:
    up = stack.up("--scale", f"client={count}", MIN_CLIENTS=count, NUM_ROUNDS=1, LOCAL_EPOCHS=1)
    assert up.returncode == 0, up.stdout
    [line] = stack.read_history()
    assert [node["partition"] for node in line["nodes"]] == list(range(count))
    assert sum(node["examples"] for node in line["nodes"]) == 60_000
    assert len({node["name"] for node in line["nodes"]}) == count


def test_a_replacement_takes_the_partition_of_the_replica_that_was_removed(stack: Stack) -> None:
    settings = {
        "MIN_CLIENTS": 4,
        "MIN_UPDATES": 3,
        "NUM_ROUNDS": 12,
        "LEASE_GRACE": 1,
        "PARTITION": "labels:5",
    }
    with stack.begin("up", "--scale", "client=4", **settings) as up:
        stack.wait_for("round finished round=1 ", "server")
        gone = stack.containers("client")[0]
        subprocess.run(["docker", "rm", "--force", gone.id], check=True, capture_output=True)
        stack.wait_for("no node holds a partition", "server")
        again = stack.run(
            "up", "--detach", "--no-deps", "--no-recreate", "--scale", "client=4", "client", **settings
        )
        assert again.returncode == 0, again.stdout
        assert up.wait(PATIENCE_S) == 0
    history = stack.read_history()
    partitions = [[node["partition"] for node in line["nodes"]] for line in history]
    assert all(len(set(row)) == len(row) for row in partitions)
    assert partitions[0] == partitions[-1] == [0, 1, 2, 3]
    first, last = ({node["name"]: node["partition"] for node in history[i]["nodes"]} for i in (0, -1))
    [newcomer] = last.keys() - first.keys()
    assert last.pop(newcomer) == first.pop(gone.node)
    assert last == first


def test_make_export_reads_the_volume_and_writes_a_file_of_the_same_accuracy(
    finished: Finished, tmp_path: Path
) -> None:
    stack, _ = finished
    path = tmp_path / "model.onnx"
    done = stack.make("export", "FROM=containers", "RUN=latest", "FORMAT=onnx", f"OUTPUT={path}")
    assert done.returncode == 0, done.stdout + done.stderr
    session = onnxruntime.InferenceSession(path)
    (data,) = session.get_inputs()
    _, test = load_data(ROOT / "data" / "mnist")
    (outputs,) = session.run(None, {data.name: test.examples})
    expected = stack.read_history()[-1]["evaluate"]["metrics"]["accuracy"]
    assert (outputs.argmax(axis=1) == test.labels).mean() == pytest.approx(expected, abs=1e-12)
    evaluated = stack.run_alone("model", "evaluate", "latest").stdout
    assert f"accuracy {expected:.6g}" in evaluated.splitlines()
