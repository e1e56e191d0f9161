"""A server with too little memory for its run, in real processes."""

import resource

from tests.federation.programs import Federation

MEGABYTE = 1024**2


def test_a_run_that_does_not_fit_is_rejected_before_training_and_every_node_is_notified(
    cold_federation: Federation,
) -> None:
    server = cold_federation.start_server(NUM_PARTITIONS=2)
    limit = 512 * MEGABYTE
    resource.prlimit(server.process.pid, resource.RLIMIT_AS, (limit, limit))
    # The memory of the server alone has to be that of a program that imports only its own modules.
    cold_federation.is_forked = True
    nodes = [cold_federation.start_client(TASK="heavy_task") for _ in range(2)]
    assert server.wait() == 2
    assert [node.wait() for node in nodes] == [4, 4]
    [line] = [line for line in server.log.splitlines() if " ERROR " in line]
    reason = line.partition(" ERROR ")[2].strip()
    for text in ("RLIMIT_AS=512m", "2 nodes", "64.2 MB", "STRATEGY=fedavg", "RLIMIT_AS=562m"):
        assert text in reason
    assert all(reason in node.log for node in nodes)
    assert "round finished" not in server.log
    facts = cold_federation.facts
    assert (facts["status"], facts["exit_code"], facts["reason"]) == ("failed", 2, reason)


def test_run_json_has_the_size_of_the_model(federation: Federation) -> None:
    assert federation.run(clients=2, client_settings={"TASK": "tiny_task"}, NUM_ROUNDS=1) == 0
    assert federation.facts["model_bytes"] == 4 * (8 * 4 + 4)
