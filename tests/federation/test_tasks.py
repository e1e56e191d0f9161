"""Tasks of many kinds, from their start to the end of a run in real processes."""

from tests.federation.programs import Federation


def test_a_convolutional_network_trains_for_three_rounds(federation: Federation) -> None:
    code = federation.run(client_settings={"TASK": "convolution_task"}, NUM_ROUNDS=3, BATCH_SIZE=20)
    assert code == 0, federation.logs
    assert [line["round"] for line in federation.history] == [1, 2, 3]
    assert federation.facts["status"] == "finished"
