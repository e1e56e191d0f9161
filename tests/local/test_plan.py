"""What the launcher starts with which environment, and what it refuses before it starts anything."""

from collections.abc import Mapping

import pytest

from local.plan import make_plan


@pytest.mark.parametrize(
    ("environ", "line"),
    [
        ({"CLIENTS": "abc"}, "CLIENTS='abc': expected an integer of at least 1"),
        ({"CLIENTS": "0"}, "CLIENTS='0': expected an integer of at least 1"),
        ({"ROUNDS": "0"}, "ROUNDS='0': expected an integer of at least 1"),
        ({"ROUNDS": "1.5"}, "ROUNDS='1.5': expected an integer of at least"),
    ],
)
def test_a_wrong_number_is_one_line(environ: Mapping[str, str], line: str) -> None:
    (problem,) = make_plan(environ).problems
    assert problem.startswith(line)


def test_wrong_settings_of_all_programs_are_problems_at_once_and_nothing_to_start_is_lost() -> None:
    plan = make_plan({"CLIENTS": "0", "SEED": "x", "DEVICE": "tpu", "LEARNING_RATE": "0.5"})
    assert {problem.partition("=")[0] for problem in plan.problems} == {"CLIENTS", "SEED", "DEVICE"}
    assert plan.server["LEARNING_RATE"] == "0.5"


@pytest.mark.parametrize("setting", ["MIN_CLIENTS", "NUM_PARTITIONS"])
def test_more_nodes_than_are_started_are_not_waited_for(setting: str) -> None:
    assert make_plan({"CLIENTS": "3", setting: "3"}).problems == []
    assert make_plan({"CLIENTS": "3", setting: "4"}).problems == [
        f"{setting}=4: make run starts CLIENTS=3; expected at most that"
    ]


def test_a_number_that_the_user_did_not_give_is_explained() -> None:
    plan = make_plan({"MIN_CLIENTS": "2"})
    assert plan.explain("NUM_PARTITIONS=2: too few") == (
        "NUM_PARTITIONS=2: too few (NUM_PARTITIONS is CLIENTS unless it is given)"
    )
    assert plan.explain("MIN_CLIENTS=2: too few") == "MIN_CLIENTS=2: too few"


def test_a_server_that_is_to_be_quiet_still_says_that_it_listens() -> None:
    levels = [make_plan({"LOG_LEVEL": level}).server["LOG_LEVEL"] for level in ("ERROR", "INFO", "DEBUG")]
    assert levels == ["INFO", "INFO", "DEBUG"]
    assert make_plan({"LOG_LEVEL": "ERROR"}).log_level == "ERROR"


def test_every_client_gets_a_partition_and_a_name_of_its_own() -> None:
    plan = make_plan({"CLIENTS": "3", "ROUNDS": "5", "LEARNING_RATE": "0.01"})
    assert plan.server["NUM_PARTITIONS"] == plan.server["MIN_CLIENTS"] == "3"
    assert plan.server["NUM_ROUNDS"] == "5"
    assert plan.server["LEARNING_RATE"] == "0.01"
    assert [env["NODE_NAME"] for env in plan.clients.values()] == ["client-1", "client-2", "client-3"]
    assert {env["SERVER_ADDRESS"] for env in plan.clients.values()} == {"127.0.0.1:8080"}


def test_what_is_given_wins_over_what_the_number_of_clients_says() -> None:
    plan = make_plan({"CLIENTS": "5", "NUM_PARTITIONS": "4", "MIN_CLIENTS": "2", "NUM_ROUNDS": "9"})
    assert (plan.server["NUM_PARTITIONS"], plan.server["MIN_CLIENTS"]) == ("4", "2")
    assert plan.rounds == 9


def test_a_run_of_fewer_partitions_than_clients_does_not_wait_for_all_clients() -> None:
    plan = make_plan({"CLIENTS": "5", "NUM_PARTITIONS": "4"})
    assert (plan.server["MIN_CLIENTS"], plan.problems) == ("4", [])


def test_sites_with_data_of_their_own_are_given_no_partitions() -> None:
    assert "NUM_PARTITIONS" not in make_plan({"PARTITION": "none"}).server


@pytest.mark.parametrize(
    ("listening", "dialled"),
    [("0.0.0.0:9000", "127.0.0.1:9000"), ("[::]:9000", "[::1]:9000"), ("10.1.2.3:80", "10.1.2.3:80")],
)
def test_clients_dial_where_the_server_listens(listening: str, dialled: str) -> None:
    plan = make_plan({"LISTEN_ADDRESS": listening, "SERVER_ADDRESS": "elsewhere:1"})
    assert plan.clients["client-1"]["SERVER_ADDRESS"] == dialled
    assert plan.server["LISTEN_ADDRESS"] == listening
