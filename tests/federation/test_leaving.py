"""Tasks that exit the program: exit code 0 means that the run is finished, and nothing else."""

import pytest

from tests.bounds import HANG_S
from tests.federation.programs import Federation


@pytest.mark.parametrize(
    ("part", "way"),
    [
        ("import", "exit"),
        ("build_model", "generator"),
        ("load_data", "exit"),
        ("load_data", "interrupt"),
        ("metrics", "exit"),
    ],
)
def test_a_task_that_exits_before_the_run_is_one_line_and_exit_code_2(
    federation: Federation, part: str, way: str
) -> None:
    client = federation.start_client(TASK="leaving_task", LEAVES_IN=part, LEAVES_BY=way)
    assert client.wait(HANG_S) == 2, client.log
    (line,) = [line for line in client.log.splitlines() if " INFO " not in line and " WARNING " not in line]
    assert "TASK=leaving_task" in line
    assert "leaving_task.py:" in line


@pytest.mark.parametrize("way", ["exit", "interrupt"])
def test_a_node_with_a_task_that_exits_during_a_round_stays_and_the_server_decides(
    federation: Federation, way: str
) -> None:
    server = federation.start_server(NUM_PARTITIONS=2, MIN_CLIENTS=2, MIN_UPDATES=1, NUM_ROUNDS=2)
    stays = federation.start_client(TASK="leaving_task", NODE_NAME="stays")
    leaves = federation.start_client(
        TASK="leaving_task", NODE_NAME="leaves", LEAVES_IN="a round", LEAVES_BY=way
    )
    assert [program.wait(HANG_S) for program in (server, stays, leaves)] == [0, 0, 0], federation.logs
    for line in federation.history:
        assert [node["name"] for node in line["nodes"]] == ["local.stays"]
        assert {rejection["name"] for rejection in line["rejected"]} == {"local.leaves"}
    assert "Traceback" not in federation.logs


def test_a_run_without_enough_working_nodes_fails(federation: Federation) -> None:
    settings = {"TASK": "leaving_task", "LEAVES_IN": "a round", "LEAVES_BY": "exit"}
    assert federation.run(client_settings=settings) == 4
    assert [client.process.returncode for client in federation.programs[1:]] == [4, 4]


def test_a_tasks_thread_that_exits_ends_that_thread_alone(federation: Federation) -> None:
    settings = {"TASK": "leaving_task", "LEAVES_IN": "a round", "LEAVES_BY": "thread"}
    assert federation.run(client_settings=settings) == 0
