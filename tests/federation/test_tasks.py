"""Tasks of many kinds, from their start to the end of a run in real processes."""

import numpy as np

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


def test_nodes_with_other_pretrained_layers_are_refused_by_name(federation: Federation) -> None:
    server = federation.start_server(NUM_PARTITIONS=2, MIN_CLIENTS=2)
    for name, value in (("one", 0.3), ("two", 0.4)):
        federation.start_client(TASK="pretrained_task", NODE_NAME=name, PRETRAINED_VALUE=value)
    assert server.wait() == 4
    last = server.log.splitlines()[-1]
    assert "one" in last
    assert "two" in last
    assert "pretrained weights" in last
