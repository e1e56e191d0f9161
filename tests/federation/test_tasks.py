"""Tasks of many kinds, from their start to the end of a run in real processes."""

import numpy as np
import pytest

from tests.bounds import HANG_S
from tests.federation.programs import Federation


def test_a_convolutional_network_trains_for_three_rounds(federation: Federation) -> None:
    code = federation.run(client_settings={"TASK": "convolution_task"}, NUM_ROUNDS=3, BATCH_SIZE=20)
    assert code == 0, federation.logs
    assert [line["round"] for line in federation.history] == [1, 2, 3]
    assert federation.facts["status"] == "finished"


def test_pretrained_layers_are_what_a_run_starts_from_and_frozen_ones_what_it_ends_with(
    federation: Federation,
) -> None:
    # With such a learning rate, the end tells the start.
    code = federation.run(client_settings={"TASK": "pretrained_task"}, NUM_ROUNDS=2, LEARNING_RATE=1e-30)
    assert code == 0, federation.logs
    with np.load(federation.runs_dir / "latest" / "model.npz") as arrays:
        expected = np.eye(8, dtype=np.float32) + np.float32(0.3)
        assert (arrays["0.weight"] == expected).all()
        np.testing.assert_allclose(arrays["1.weight"], expected, rtol=1e-6)
        assert arrays["2.weight"].any()


def test_nodes_with_other_pretrained_layers_are_refused(federation: Federation) -> None:
    server = federation.start_server(NUM_PARTITIONS=2, MIN_CLIENTS=2)
    for name, value in (("one", 0.3), ("two", 0.4)):
        federation.start_client(TASK="pretrained_task", NODE_NAME=name, PRETRAINED_VALUE=value)
    assert server.wait() == 4
    last = server.log.splitlines()[-1]
    assert "one" in last
    assert "two" in last
    assert "pretrained weights" in last


@pytest.mark.parametrize(
    ("fault", "word"), [("shape", "(unfit_task.py:25)"), ("frozen", " 2 "), ("unreached", "other.weight")]
)
def test_a_mistake_that_only_a_training_step_shows_ends_a_client_before_it_is_ready(
    federation: Federation, fault: str, word: str
) -> None:
    client = federation.start_client(TASK="unfit_task", FAULT=fault)
    assert client.wait() == 2
    (line,) = [line for line in client.log.splitlines() if " ERROR " in line]
    assert "TASK=unfit_task: " in line
    assert word in line
    assert "Traceback" not in client.log
    assert " ready " not in client.log


def test_a_layer_that_is_not_used_is_logged_once_and_keeps_its_values(federation: Federation) -> None:
    code = federation.run(client_settings={"TASK": "unfit_task", "FAULT": "unused"})
    assert code == 0, federation.logs
    for client in federation.programs[1:]:
        assert client.log.count("other.weight, other.bias") == 1
        assert "Traceback" not in client.log
        assert "UserWarning" not in client.log
    with np.load(federation.runs_dir / "latest" / "model.npz") as arrays:
        np.testing.assert_allclose(arrays["other.bias"], 1, rtol=1e-6)


def test_sites_of_equal_data_shuffle_it_in_their_own_way_and_runs_repeat_bit_by_bit(
    federation: Federation,
) -> None:
    digests = []
    for _ in range(2):
        server = federation.start_server(PARTITION="none", MIN_CLIENTS=2, RESUME="never")
        sites = [federation.start_client(TASK="tiny_task", NODE_NAME=name) for name in ("berlin", "paris")]
        assert [program.wait(HANG_S) for program in (server, *sites)] == [0, 0, 0], federation.logs
        digests.append(federation.facts["model_sha256"])
        berlin, paris = federation.history[0]["nodes"]
        assert berlin["metrics"]["loss"] != paris["metrics"]["loss"]
    assert digests[0] == digests[1]
