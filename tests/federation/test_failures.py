"""Failures: messages, exit codes, and no partial files."""

import gzip
import json
import shutil
import signal
import socket
from pathlib import Path

import pytest

from tests.federation.programs import ROOT, Federation, Program

TINY = {"TASK": "tiny_task"}


def only_problems(program: Program) -> list[str]:
    """Return the lines of a log that report a failure."""
    assert "Traceback" not in program.log, program.log
    return [line for line in program.log.splitlines() if " INFO " not in line and " WARNING " not in line]


def test_all_invalid_server_settings_are_reported_at_once(federation: Federation) -> None:
    server = federation.start_server(
        NUM_ROUNDS="many", LEARNING_RATE="-1", STRATEGY="fedsomething", PARTITION="labels:", SEED=""
    )
    assert server.wait() == 2
    lines = server.log.splitlines()
    assert len(lines) == 4
    for start in (
        "NUM_ROUNDS='many': ",
        "LEARNING_RATE='-1': ",
        "PARTITION='labels:': ",
        "STRATEGY='fedsomething': ",
    ):
        assert len([line for line in lines if line.startswith(start)]) == 1
    assert not federation.runs_dir.exists()


def test_an_address_that_cannot_be_dialled_is_rejected_with_the_reason(federation: Federation) -> None:
    client = federation.start_client(SERVER_ADDRESS="0.0.0.0:8080", **TINY)
    assert client.wait() == 2
    (line,) = client.log.splitlines()
    assert line.startswith("SERVER_ADDRESS='0.0.0.0:8080': 0.0.0.0 means all addresses of a machine")


def test_a_port_in_use_is_reported(federation: Federation) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", federation.port))
        taken.listen()
        server = federation.start_server()
        assert server.wait() == 2
    assert only_problems(server)[0].endswith(
        f"LISTEN_ADDRESS={federation.address}: Address already in use;"
        " expected a free address of this machine"
    )


def test_a_second_server_on_a_runs_folder_is_rejected(federation: Federation) -> None:
    first = federation.start_server()
    first.wait_for("listening")
    second = federation.start_server(LISTEN_ADDRESS="127.0.0.1:1")
    assert second.wait() == 2
    assert "another server writes in this folder" in only_problems(second)[0]
    assert first.stop() == 143


def test_a_runs_folder_that_cannot_be_created_is_reported(federation: Federation) -> None:
    (federation.folder / "file").write_text("")
    server = federation.start_server(RUNS_DIR=federation.folder / "file" / "runs")
    assert server.wait() == 2
    assert f"RUNS_DIR={federation.folder}/file/runs: Not a directory" in only_problems(server)[0]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"TASK": "no_such_task"}, "TASK=no_such_task: cannot be imported: No module named 'no_such_task'"),
        ({"TASK": "useless_task"}, "TASK=useless_task: load_data is missing"),
        ({"DATA_DIR": "/no/such/folder"}, "DATA_DIR=/no/such/folder: cannot be read (No such file"),
        ({"DEVICE": "gpu"}, "DEVICE=gpu: this MXNet is built without CUDA"),
    ],
)
def test_a_client_that_cannot_train_reports_it_before_it_waits_for_a_server(
    federation: Federation, settings: dict[str, object], words: str
) -> None:
    client = federation.start_client(**settings)
    assert client.wait() == 2
    problems = only_problems(client)
    assert len(problems) == 1
    assert words in problems[0]


def test_a_damaged_file_is_reported_by_name(federation: Federation, tmp_path: Path) -> None:
    data = shutil.copytree(ROOT / "data" / "mnist", tmp_path / "data")
    labels = data / "train-labels-idx1-ubyte.gz"
    labels.write_bytes(gzip.compress(gzip.decompress(labels.read_bytes())[:-100]))
    client = federation.start_client(DATA_DIR=data)
    assert client.wait() == 2
    assert len(problems := only_problems(client)) == 1
    assert str(labels) in problems[0]


def test_training_that_raises_fails_the_run_with_node_and_cause(federation: Federation) -> None:
    assert federation.run(client_settings={"TASK": "raising_task"}) == 4, federation.logs
    server, *clients = federation.programs
    last = server.log.splitlines()[-1]
    assert "round 1 failed: 0 updates admitted, 2 needed" in last
    reason = "TASK=raising_task: the loss raised RuntimeError: the columns do not fit (raising_task.py:19)"
    assert last.count(reason) == 1
    assert server.log.count("ERROR") == 1
    assert "Traceback" not in federation.logs
    assert "bug" not in federation.logs
    assert [client.process.returncode for client in clients] == [4, 4]
    assert federation.facts["status"] == "failed"
    assert "the columns do not fit" in federation.facts["reason"]
    assert not (federation.runs_dir / "latest" / "model.npz").exists()


def test_a_partition_rule_that_cannot_divide_the_data_is_reported_in_one_line(federation: Federation) -> None:
    code = federation.run(client_settings=TINY, PARTITION="labels:1")
    server = federation.programs[0]
    assert code == 2, federation.logs
    assert len(problems := only_problems(server)) == 1
    assert "PARTITION=labels:1" in problems[0]
    assert (federation.facts["status"], federation.facts["exit_code"]) == ("failed", 2)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_during_a_round_ends_both_programs_with_its_exit_code(
    federation: Federation, number: int, code: int
) -> None:
    server = federation.start_server(NUM_PARTITIONS=1, MIN_CLIENTS=1, NUM_ROUNDS=100_000)
    client = federation.start_client(**TINY)
    server.wait_for("round finished round=2 ")
    assert server.stop(number) == code
    assert client.stop(number) == code
    assert json.loads((federation.runs_dir / "latest" / "run.json").read_text())["status"] == "interrupted"
    assert "Traceback" not in federation.logs
