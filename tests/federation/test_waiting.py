"""Clients wait for their server and servers for their nodes, up to the documented timeouts."""

import re
import time

import pytest

from tests.federation.programs import Federation

TINY = {"TASK": "tiny_task"}


@pytest.mark.slow
def test_a_client_may_start_20_seconds_before_its_server(federation: Federation) -> None:
    client = federation.start_client(**TINY)
    # The claim is about a server that starts this much later.
    time.sleep(20)
    server = federation.start_server(MIN_CLIENTS=1, JOIN_WINDOW=0)
    assert [server.wait(), client.wait()] == [0, 0], federation.logs


def test_a_client_without_a_server_gives_up_and_reports_the_address(federation: Federation) -> None:
    client = federation.start_client(SERVER_WAIT_TIMEOUT=3, **TINY)
    assert client.wait() == 5
    assert f"SERVER_ADDRESS={federation.address}: no server answered within 3 s" in client.log
    assert "Connection refused" in client.log
    assert "Traceback" not in client.log


def test_a_client_without_a_time_limit_logs_it_and_joins_a_later_server(
    federation: Federation,
) -> None:
    client = federation.start_client(SERVER_WAIT_TIMEOUT=0, **TINY)
    client.wait_for(rf"WARNING .*{re.escape(str(federation.address))}.* SERVER_WAIT_TIMEOUT=0")
    server = federation.start_server(MIN_CLIENTS=1, JOIN_WINDOW=0)
    assert [server.wait(), client.wait()] == [0, 0], federation.logs


def test_one_client_is_enough_where_min_clients_says_so(federation: Federation) -> None:
    server = federation.start_server(MIN_CLIENTS=1, JOIN_WINDOW=0.5)
    client = federation.start_client(**TINY)
    assert [server.wait(), client.wait()] == [0, 0], federation.logs
    assert len(federation.history) == 3
    events = [line.split(" INFO    ")[1] for line in client.log.splitlines() if " INFO    " in line]
    # A client loads its task while it joins, so either may be over first.
    results = 3 * ["federation result", "own result"]
    names = [" ".join(event.split()[: 2 if "result" in event else 1]) for event in events]
    assert sorted(names) == sorted(["dialling", "finished", "joined", "ready", *results])
    (ready,) = [event for event in events if event.startswith("ready")]
    assert ready == "ready device=cpu(0) threads=1 dataset_train_examples=230 dataset_test_examples=50"


def test_too_few_clients_end_the_server_with_exit_code_3_and_a_count(federation: Federation) -> None:
    server = federation.start_server(MIN_CLIENTS=2, CLIENT_WAIT_TIMEOUT=10)
    client = federation.start_client(**TINY)
    assert server.wait() == 3
    assert "1 of 2 nodes were ready within 10 s (CLIENT_WAIT_TIMEOUT)" in server.log
    assert client.wait() == 4
    assert "the server reports that the run failed: 1 of 2 nodes were ready" in client.log
    assert (federation.facts["status"], federation.facts["exit_code"]) == ("failed", 3)
    assert "Traceback" not in federation.logs


def test_a_run_without_num_partitions_starts_with_the_nodes_of_the_join_window(
    federation: Federation,
) -> None:
    server = federation.start_server(MIN_CLIENTS=2, JOIN_WINDOW=2)
    clients = [federation.start_client(**TINY) for _ in range(3)]
    assert [program.wait() for program in (server, *clients)] == [0, 0, 0, 0], federation.logs
    assert [node["partition"] for node in federation.history[0]["nodes"]] == [0, 1, 2]
    assert sum(node["examples"] for node in federation.history[0]["nodes"]) == 230


def test_a_surplus_node_waits_and_ends_with_the_others(federation: Federation) -> None:
    server = federation.start_server(NUM_PARTITIONS=2, NUM_ROUNDS=5)
    clients = [federation.start_client(**TINY) for _ in range(3)]
    assert [program.wait() for program in (server, *clients)] == [0, 0, 0, 0], federation.logs
    assert {len(line["nodes"]) for line in federation.history} == {2}


def test_sites_with_their_own_data_train_together(federation: Federation) -> None:
    assert federation.run(client_settings=TINY, PARTITION="none") == 0, federation.logs
    nodes = federation.history[0]["nodes"]
    assert [(node["partition"], node["examples"]) for node in nodes] == [(None, 230), (None, 230)]
