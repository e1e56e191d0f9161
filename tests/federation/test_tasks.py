"""Tasks that use more than two functions, over real processes."""

import json
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.bounds import HANG_S
from tests.federation.chaos.killing import Kill
from tests.federation.chaos.stage import Stage
from tests.federation.programs import Federation, make_environment
from tests.federation.tasks.frozen_task import WIDTH

FROZEN = {"TASK": "frozen_task"}
LOOPING = {"TASK": "looping_task"}
BODY_BYTES = 4 * WIDTH * 8


def read_model(federation: Federation) -> dict[str, NDArray[np.float32]]:
    with np.load(federation.runs_dir / "latest" / "model.npz") as file:
        return dict(file)


def test_frozen_arrays_keep_their_initial_values_and_are_never_sent_in_a_round(
    federation: Federation,
) -> None:
    code = federation.run(client_settings=FROZEN, NUM_ROUNDS=3, LEARNING_RATE=0.01)
    assert code == 0, federation.logs
    for line in federation.history:
        for node in line["nodes"]:
            # The head has 8 x 4096 weights as well, which travel back, and to evaluate. In round 1, they
            # travel to train, too; later, a node trains what it has evaluated.
            assert BODY_BYTES < node["bytes_up"] < 1.2 * BODY_BYTES
            sent = node["bytes_down"] / BODY_BYTES
            assert (2 < sent < 2.3) if line["round"] == 1 else (1 < sent < 1.2)
    found = read_model(federation)
    expected = (np.random.default_rng(0).normal(size=(WIDTH, 8)) / 64).astype(np.float32)
    assert (found["body.0.weight"] == expected).all()
    assert (found["body.1.running_mean"] == 0).all()
    assert (found["body.1.running_var"] == 0.25).all()
    assert federation.history[-1]["evaluate"]["metrics"]["accuracy"] > 0.9


@pytest.mark.parametrize("options", [pytest.param('{"drawn": 0}', marks=pytest.mark.slow), '{"drawn": 1}'])
def test_each_round_sends_a_node_the_bytes_that_a_check_predicts(
    federation: Federation, options: str
) -> None:
    code = federation.run(client_settings=FROZEN, NUM_ROUNDS=3, TASK_OPTIONS=options)
    assert code == 0, federation.logs
    done = subprocess.run(
        [sys.executable, "-m", "client", "check-task", FROZEN["TASK"], str(federation.folder), "--json"],
        env=make_environment({"TASK_OPTIONS": options}),
        capture_output=True,
        text=True,
        timeout=HANG_S,
        check=True,
    )
    costs = json.loads(done.stdout)
    for line in federation.history:
        arrays = costs["bytes_down_in_round_1" if line["round"] == 1 else "bytes_down"]
        for node in line["nodes"]:
            # A message has names and numbers beside its arrays.
            assert arrays < node["bytes_down"] < arrays + 10_000


def test_options_of_the_server_change_the_model_of_every_client(federation: Federation) -> None:
    code = federation.run(client_settings=FROZEN, NUM_ROUNDS=1, TASK_OPTIONS='{"hidden": 3}')
    assert code == 0, federation.logs
    assert read_model(federation)["head.1.weight"].shape == (4, 3)


def test_own_loops_train_and_their_numbers_are_averaged_by_their_weights(federation: Federation) -> None:
    code = federation.run(client_settings=LOOPING, NUM_ROUNDS=4, LEARNING_RATE=0.05, LR_SCHEDULE="step:2:0.5")
    assert code == 0, federation.logs
    last = federation.history[-1]
    assert last["train"]["metrics"] == {"steps": 8.0}
    assert last["train"]["num_examples"] == 230
    assert last["evaluate"]["num_examples"] == 25
    assert last["evaluate"]["metrics"]["hits"] > 0.9
    assert [line["learning_rate"] for line in federation.history] == [0.05, 0.05, 0.025, 0.025]


def test_own_loops_train_the_same_model_after_a_kill_of_the_server(
    stage: Stage, federation: Federation
) -> None:
    how: dict[str, Any] = {"NUM_ROUNDS": 3, "PROXIMAL_MU": 0.1}
    assert federation.run(client_settings=LOOPING, **how) == 0, federation.logs
    settings = {**how, "NUM_PARTITIONS": 2, "MIN_CLIENTS": 2}
    nodes = [stage.start_client(NODE_NAME=name, **LOOPING) for name in ("east", "north")]
    kill = Kill("after", "server.record.run:RunRecord.keep", 2)
    assert stage.start_server(fault=kill, **settings).wait() == -9, stage.logs
    assert stage.start_server(**settings).wait() == 0, stage.logs
    assert [node.wait() for node in nodes] == [0, 0], stage.logs
    assert stage.facts["model_sha256"] == federation.facts["model_sha256"]


def test_a_loop_that_ignores_fedprox_is_refused_by_name(federation: Federation) -> None:
    code = federation.run(client_settings=LOOPING, PROXIMAL_MU=0.1, TASK_OPTIONS='{"prox": false}')
    assert code == 4, federation.logs
    assert "PROXIMAL_MU=0.1: train() of TASK=looping_task never called context.pull(net)" in federation.logs
    assert "Traceback" not in federation.logs


@pytest.mark.parametrize("options", ["[1]", "{", '{"a"}'])
def test_options_that_are_not_a_json_object_are_rejected_by_the_server(
    options: str, federation: Federation
) -> None:
    server = federation.start_server(TASK_OPTIONS=options)
    assert server.wait() == 2
    assert "TASK_OPTIONS=" in server.log


def test_a_server_that_was_restarted_with_other_options_is_named_by_its_clients(stage: Stage) -> None:
    client = stage.start_client(NODE_NAME="east", **FROZEN)
    settings = {"NUM_PARTITIONS": 2, "MIN_CLIENTS": 2}
    server = stage.start_server(**settings)
    client.wait_for(" ready ")
    server.stop()
    stage.start_server(TASK_OPTIONS='{"hidden": 5}', **settings)
    assert client.wait() == 5
    assert "TASK_OPTIONS" in client.log
    assert '"hidden": 5' in client.log
