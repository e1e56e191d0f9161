"""`make run` as a user sees it: the launcher, a real server and real clients on this machine."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import psutil
import pytest

from client.data.idx import read_idx
from tests.bounds import HANG_S
from tests.federation.programs import TASKS
from tests.screens import Terminal
from tests.server.status.web import fetch
from tests.small_mnist import write_small_mnist

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def free_address() -> str:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"127.0.0.1:{listener.getsockname()[1]}"


def make_environment(address: str, runs_dir: Path, **settings: str) -> dict[str, str]:
    return {"PATH": os.defpath, "LISTEN_ADDRESS": address, "RUNS_DIR": str(runs_dir), **settings}


def launch(address: str, runs_dir: Path, **settings: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "local"],
        cwd=ROOT,
        env=make_environment(address, runs_dir, **settings),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=HANG_S,
        check=False,
    )


def begin(address: str, runs_dir: Path, **settings: str) -> "subprocess.Popen[str]":
    """Start the program of `make run`; its lines are read through a pipe."""
    return subprocess.Popen(
        [sys.executable, "-m", "local"],
        cwd=ROOT,
        env=make_environment(address, runs_dir, **settings),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_a_federation_on_one_machine_trains_mnist_and_shows_the_path_of_the_model(
    free_address: str, tmp_path: Path
) -> None:
    done = launch(free_address, tmp_path, CLIENTS="2", ROUNDS="1", LOCAL_EPOCHS="1")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    folder = (tmp_path / "latest").resolve()
    digest = json.loads((folder / "run.json").read_text())["model_sha256"]
    assert done.stdout.splitlines()[-3:-1] == [f"model: {folder}/model.npz", f"model_sha256: {digest}"]
    row = next(line.split() for line in done.stdout.splitlines() if line.split()[:2] == ["1", "2"])
    assert float(row[4]) > 0.9
    with np.load(folder / "model.npz") as model:
        assert sum(model[name].size for name in model) == 784 * 256 + 256 + 256 * 64 + 64 + 64 * 10 + 10


@pytest.mark.slow
def test_two_at_once_with_no_settings_train_the_same_model_in_separate_folders(tmp_path: Path) -> None:
    # The launcher finds its root from its own file.
    shutil.copytree(ROOT / "local", tmp_path / "local", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("fedmx", "server", "client"):
        (tmp_path / name).symlink_to(ROOT / name)
    write_small_mnist(tmp_path / "data" / "mnist")
    command = [sys.executable, "-m", "local"]
    environment = {"PATH": os.defpath, "ROUNDS": "1", "LOCAL_EPOCHS": "1"}
    both = [
        subprocess.Popen(
            command,
            cwd=tmp_path,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    printed = [process.communicate()[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], printed
    facts = [json.loads((tmp_path / name / "latest" / "run.json").read_text()) for name in ("runs", "runs-2")]
    assert {run["status"] for run in facts} == {"finished"}
    assert len({run["model_sha256"] for run in facts}) == 1
    assert len({run["run_id"] for run in facts}) == 2
    pages = [re.findall(r"http://127\.0\.0\.1:[0-9]+/", lines) for lines in printed]
    assert [len(urls) for urls in pages] == [1, 1]
    assert pages[0] != pages[1]
    shown = sorted(lines.splitlines()[-3] for lines in printed)
    assert shown == sorted(
        f"model: {name}/{run['run_id']}/model.npz"
        for name, run in zip(("runs", "runs-2"), facts, strict=True)
    )


def test_a_terminal_shows_what_is_awaited_the_rounds_and_the_page_and_ends_with_the_table(
    free_address: str, tmp_path: Path
) -> None:
    settings = {"TERM": "xterm", "ROUNDS": "3", "STATUS_ADDRESS": "127.0.0.1:0"}
    settings |= {"TASK": "lingering_task", "PYTHONPATH": str(TASKS)}
    environment = make_environment(free_address, tmp_path, **settings)
    terminal = Terminal([sys.executable, "-m", "local"], environment, ROOT, (200, 24))
    try:
        assert terminal.read_until(lambda text: "nodes are ready (CLIENTS)" in text)
        assert terminal.read_until(lambda text: "awaited: client-" in text)
        assert terminal.read_until(lambda text: "round 2 of 3" in text)
        url = re.search(r"page (http://127\.0\.0\.1:[0-9]+/)", terminal.screen.text)
        assert url is not None
        assert fetch(url[1], "/status.json").json["run"]["num_rounds"] == 3
        text = terminal.read_all()
        assert terminal.process.wait(HANG_S) == 0
    finally:
        terminal.close()
    rows = [line.split() for line in text.splitlines() if line.split()[1:2] == ["2"]]
    assert [row[0] for row in rows] == ["1", "2", "3"]
    assert "round 2 of 3" not in text
    assert "page http" not in text
    assert text.rstrip().splitlines()[-1].startswith("details: ")


@pytest.mark.slow
def test_a_client_that_is_killed_is_started_again_and_no_round_is_without_it(
    free_address: str, tmp_path: Path
) -> None:
    write_small_mnist(tmp_path / "mnist")
    process = begin(free_address, tmp_path / "runs", ROUNDS="20", DATA_DIR=str(tmp_path / "mnist"))
    assert process.stdout
    while "round finished round=1 " not in (line := process.stdout.readline()):
        assert line, "the run ended before its first round"
    programs = psutil.Process(process.pid).children()
    (client,) = [child for child in programs if child.environ().get("NODE_NAME") == "client-1"]
    client.kill()
    printed, _ = process.communicate(timeout=HANG_S)
    assert process.returncode == 0, printed
    assert "client-1 ended with exit code 137" in printed
    text = (tmp_path / "runs" / "latest" / "history.jsonl").read_text()
    rounds = [{node["name"] for node in json.loads(line)["nodes"]} for line in text.splitlines()]
    assert rounds == [{"local.client-1", "local.client-2"}] * 20


def test_a_port_in_use_is_reported_in_one_line_and_ends_everything(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        done = launch(address, tmp_path, PKI_DIR=str(tmp_path / "pki"))
    assert done.returncode == 2
    assert done.stderr.startswith(f"LISTEN_ADDRESS={address}: Address already in use; ")
    assert done.stderr.count("\n") == 1
    assert done.stdout == f"created an authority and certificates in {tmp_path}/pki\n"


def test_invalid_settings_of_all_programs_are_reported_at_once(tmp_path: Path) -> None:
    wrong = {"CLIENTS": "none", "SEED": "x", "DEVICE": "tpu", "STRATEGY_ARGS": '{"eta": 1}'}
    done = launch("127.0.0.1:8080", tmp_path, **wrong)
    assert done.returncode == 2
    names = [line.partition("=")[0].partition(":")[0] for line in done.stderr.splitlines()]
    assert sorted(names) == sorted(wrong)
    assert done.stdout == ""
    assert list(tmp_path.iterdir()) == []


def test_an_invalid_strategy_is_one_line(tmp_path: Path) -> None:
    pki_dir = tmp_path / "pki"
    done = launch("127.0.0.1:8080", tmp_path, STRATEGY="krum", PKI_DIR=str(pki_dir))
    assert done.returncode == 2
    assert done.stdout == f"created an authority and certificates in {pki_dir}\n"
    [line] = done.stderr.splitlines()
    assert line.startswith("NUM_PARTITIONS=2: ")
    assert "STRATEGY=krum" in line
    assert "3" in line
    assert "CLIENTS" in line


@pytest.mark.slow
def test_a_missing_data_folder_is_reported_with_exit_code_2(free_address: str, tmp_path: Path) -> None:
    done = launch(free_address, tmp_path, DATA_DIR=str(tmp_path / "nowhere"))
    assert done.returncode == 2
    [line] = done.stderr.splitlines()
    assert f"ended with exit code 2: DATA_DIR={tmp_path}/nowhere: " in line


def write_sites(parent: Path, names: Sequence[str], images: int) -> None:
    """Write a folder for each site with images of MNIST that no other site has."""
    for part in ("train", "t10k"):
        files = {f"{part}-images-idx3-ubyte": 3, f"{part}-labels-idx1-ubyte": 1}
        for file, dimensions in files.items():
            rows = read_idx(ROOT / "data" / "mnist" / f"{file}.gz", dimensions)
            for number, name in enumerate(names):
                own = rows[number * images : (number + 1) * images]
                header = bytes([0, 0, 8, dimensions]) + np.array(own.shape, ">u4").tobytes()
                (parent / name).mkdir(parents=True, exist_ok=True)
                (parent / name / file).write_bytes(header + own.tobytes())


@pytest.mark.slow
def test_three_sites_with_a_folder_each_train_under_their_names_and_the_same_command_resumes(
    free_address: str, tmp_path: Path
) -> None:
    names = ["hospital-1", "hospital-2", "hospital-3"]
    write_sites(tmp_path / "data", names, 200)
    data_dir = str(tmp_path / "data" / "hospital-{n}")
    settings = {"DATA_DIR": data_dir, "CLIENTS": "3", "ROUNDS": "60"}
    process = begin(free_address, tmp_path / "runs", **settings)
    assert process.stdout
    while "round finished round=1 " not in (line := process.stdout.readline()):
        assert line, "the run ended before its first round"
    process.send_signal(signal.SIGINT)
    printed, _ = process.communicate(timeout=HANG_S)
    assert process.returncode == 130, printed
    assert "the same command resumes it" in printed
    done = launch(free_address, tmp_path / "runs", **settings)
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = {path.resolve() for path in (tmp_path / "runs").glob("*/history.jsonl")}
    history = [json.loads(line) for line in path.read_text().splitlines()]
    assert [row["round"] for row in history] == list(range(1, 61))
    for row in history:
        assert sorted(node["name"] for node in row["nodes"]) == [f"local.{name}" for name in names]
        assert row["train"]["num_examples"] == 600
    assert all(any(line.startswith(f"{name} | ") for line in done.stdout.splitlines()) for name in names)
    assert "client-1" not in done.stdout
