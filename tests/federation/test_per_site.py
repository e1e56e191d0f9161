"""Three sites with their own rows: one that the model fails is seen in the history, the table and the log."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from client.mx import mx
from fedmx.class_counts import ClassCounts, add_all
from tests.bounds import HANG_S
from tests.federation.chaos.killing import Kill
from tests.federation.chaos.stage import Stage
from tests.federation.programs import ROOT, TASKS
from tests.federation.tasks.site_task import build_model

Rows = tuple[NDArray[np.float32], NDArray[np.int64]]

# Name of a site -> the share of class 1, and whether its labels are flipped.
SITES = {"east": (0.5, False), "north": (0.2, False), "south": (0.7, True), "west": (0.0, False)}
HOW = {"ROUNDS": "3", "LEARNING_RATE": "0.2", "BATCH_SIZE": "20"}


def draw(seed: int, share: float, *, is_flipped: bool) -> Rows:
    random = np.random.default_rng(seed)
    labels = (random.random(400) < share).astype(np.int64)
    rows = random.normal(size=(400, 4)) + 2.0 * (2 * labels[:, None] - 1) * [1, 0.5, 0, 0]
    return rows.astype(np.float32), 1 - labels if is_flipped else labels


def write_sites(parent: Path, *names: str) -> dict[str, Rows]:
    found = {}
    for seed, name in enumerate(names):
        share, is_flipped = SITES[name]
        found[name] = draw(seed, share, is_flipped=is_flipped)
        folder = parent / name
        folder.mkdir(parents=True)
        np.savez(folder / "rows.npz", rows=found[name][0], labels=found[name][1])
    return found


class Run:
    """A run of the launcher, one client for each folder."""

    def __init__(self, folder: Path, **settings: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            address = f"127.0.0.1:{listener.getsockname()[1]}"
        environment = {
            "PATH": os.defpath,
            "PYTHONPATH": str(TASKS),
            "LISTEN_ADDRESS": address,
            "RUNS_DIR": str(folder / "runs"),
            "PKI_DIR": str(folder / "pki"),
            "DATA_DIR": str(folder / "data" / "{site}"),
            "TASK": "site_task",
            **HOW,
            **settings,
        }
        command = [sys.executable, "-m", "local"]
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=HANG_S, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        self.output = done.stdout
        self.folder = folder / "runs" / "latest"
        lines = (self.folder / "history.jsonl").read_text().splitlines()
        self.history: list[dict[str, Any]] = [json.loads(line) for line in lines]
        self.facts: dict[str, Any] = json.loads((self.folder / "run.json").read_text())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("per-site")


@pytest.fixture(scope="module")
def rows(folder: Path) -> dict[str, Rows]:
    return write_sites(folder / "data", "east", "north", "south")


@pytest.fixture(scope="module")
def run(rows: dict[str, Rows], folder: Path) -> Run:
    assert rows
    return Run(folder)


def list_nodes(run: Run) -> dict[str, dict[str, Any]]:
    return {node["name"].removeprefix("local."): node for node in run.history[-1]["nodes"]}


def test_the_site_with_wrong_labels_is_seen_in_the_history(run: Run) -> None:
    metrics = {name: node["evaluate"]["metrics"] for name, node in list_nodes(run).items()}
    assert metrics["south"]["auc"] < 0.2
    assert min(metrics["east"]["auc"], metrics["north"]["auc"]) > 0.9
    assert metrics["south"]["loss"] > 2 * max(metrics["east"]["loss"], metrics["north"]["loss"])
    assert {node["evaluate"]["num_examples"] for node in list_nodes(run).values()} == {200}


def test_the_site_with_wrong_labels_is_the_first_in_the_table_and_named_in_the_log(run: Run) -> None:
    lines = [line.split() for line in run.output.splitlines()]
    start = next(n for n, line in enumerate(lines) if line[:4] == ["nodes", "in", "round", "3,"])
    end = next(n for n, line in enumerate(lines) if line[:2] == ["all", "rounds,"])
    table = [line for line in lines[start:end] if line and line[0] in (*SITES, "all")]
    assert (table[0][0], {row[0] for row in table[1:-1]}, table[-1][0]) == ("south", {"east", "north"}, "all")
    loss = list_nodes(run)["south"]["evaluate"]["metrics"]["loss"]
    assert f"{loss:.4f}" in table[0]
    assert "worst node round=3 node=local.south metric=loss" in run.output
    totals = {line[0]: line[1:3] for line in lines[end:] if line and line[0] in SITES}
    assert totals == {name: ["3", "600"] for name in ("east", "north", "south")}


def test_the_counts_of_all_sites_are_those_of_the_final_model_on_all_their_rows(
    run: Run, rows: dict[str, Rows]
) -> None:
    net = build_model()
    net.load_parameters(str(run.folder / "model.params"))
    counted = []
    for data, labels in rows.values():
        scores = net(mx.nd.array(data[1::2])).asnumpy().astype(np.float64).reshape(-1)
        above = 1 / (1 + np.exp(-scores))
        counted.append(ClassCounts.count(np.stack([1 - above, above], axis=1), labels[1::2]))
    total = add_all(counted)
    assert total is not None
    found = run.history[-1]["evaluate"]
    assert found["confusion"] == total.confusion.tolist()
    for name, value in total.measure().items():
        assert found["metrics"][name] == pytest.approx(value, abs=1e-4)
    # Every pair of the sites' rows, by the model's scores.
    scores = [net(mx.nd.array(data[1::2])).asnumpy().reshape(-1) for data, _ in rows.values()]
    labels = np.concatenate([labels[1::2] for _, labels in rows.values()])
    own, others = np.concatenate(scores)[labels == 1][:, None], np.concatenate(scores)[labels == 0][None]
    assert found["metrics"]["auc"] == pytest.approx((own > others).mean(), abs=0.002)


@pytest.mark.slow
def test_auc_is_undefined_at_a_site_without_class_1_and_can_be_the_target(tmp_path: Path) -> None:
    write_sites(tmp_path / "data", "east", "west")
    run = Run(tmp_path, ROUNDS="20", TARGET="auc>=0.9", BEST_METRIC="f1:max")
    last = run.history[-1]
    assert "auc" not in list_nodes(run)["west"]["evaluate"]["metrics"]
    assert list_nodes(run)["west"]["evaluate"]["confusion"][1] == [0, 0]
    assert {"name": "local.west", "step": "evaluate", "metrics": ["auc"]} in last["undefined"]
    assert last["evaluate"]["metrics"]["auc"] >= 0.9
    assert run.facts["stopped"] == "target"
    assert len(run.history) < 20
    best = max(run.history, key=lambda line: line["evaluate"]["metrics"]["f1"])
    assert run.facts["best"]["value"] == best["evaluate"]["metrics"]["f1"]


def test_a_resumed_run_has_the_same_lines_and_decisions(tmp_path: Path, stage: Stage) -> None:
    write_sites(tmp_path / "data", "east", "south")
    how = {"NUM_ROUNDS": 4, "LEARNING_RATE": 0.2, "BATCH_SIZE": 20, "PARTITION": "none", "MIN_CLIENTS": 2}
    goals = {"BEST_METRIC": "auc:max", "PATIENCE": 3}
    found = []
    for kill in (None, Kill("after", "server.record.run:RunRecord.keep", 2)):
        own = Stage(tmp_path / f"killed-{kill is not None}", stage.port)
        own.folder.mkdir()
        nodes = [
            own.start_client(NODE_NAME=name, TASK="site_task", DATA_DIR=tmp_path / "data" / name)
            for name in ("east", "south")
        ]
        try:
            if kill is not None:
                assert own.start_server(fault=kill, **how, **goals).wait() == -9, own.logs
            assert own.start_server(**how, **goals).wait() == 0, own.logs
            assert [node.wait() for node in nodes] == [0, 0], own.logs
        finally:
            own.end()
        lines = [(line["evaluate"], [node["evaluate"] for node in line["nodes"]]) for line in own.history]
        found.append((lines, own.facts["best"], own.facts["stopped"], own.facts["model_sha256"]))
    assert found[0] == found[1]
