"""The environments that the launcher starts programs with, and the settings that it rejects before that."""

from collections.abc import Mapping

import pytest

from fedmx.errors import SettingsError
from local.plan import check, make_plan


@pytest.mark.parametrize(
    ("environ", "line"),
    [
        ({"CLIENTS": "abc"}, "CLIENTS='abc': expected an integer of at least 1"),
        ({"CLIENTS": "0"}, "CLIENTS='0': expected an integer of at least 1"),
        ({"ROUNDS": "0"}, "ROUNDS='0': expected an integer of at least 1"),
        ({"ROUNDS": "1.5"}, "ROUNDS='1.5': expected an integer of at least"),
    ],
)
def test_an_invalid_number_is_one_problem(environ: Mapping[str, str], line: str) -> None:
    (problem,) = make_plan(environ).problems
    assert problem.startswith(line)


def test_invalid_settings_of_all_programs_are_reported_at_once_and_valid_ones_are_passed_on() -> None:
    plan = make_plan({"CLIENTS": "0", "SEED": "x", "DEVICE": "tpu", "LEARNING_RATE": "0.5"})
    assert {problem.partition("=")[0] for problem in plan.problems} == {"CLIENTS", "SEED", "DEVICE"}
    assert plan.server["LEARNING_RATE"] == "0.5"


@pytest.mark.parametrize("setting", ["MIN_CLIENTS", "NUM_PARTITIONS"])
def test_waiting_for_more_nodes_than_are_started_is_a_problem(setting: str) -> None:
    assert make_plan({"CLIENTS": "3", setting: "3"}).problems == []
    assert make_plan({"CLIENTS": "3", setting: "4"}).problems == [
        f"{setting}=4: make run starts CLIENTS=3; expected at most that"
    ]


def test_a_problem_of_a_derived_number_says_where_the_number_comes_from() -> None:
    plan = make_plan({"MIN_CLIENTS": "2"})
    assert plan.explain("NUM_PARTITIONS=2: too few") == (
        "NUM_PARTITIONS=2: too few (NUM_PARTITIONS follows CLIENTS unless it is set)"
    )
    assert plan.explain("MIN_CLIENTS=2: too few") == "MIN_CLIENTS=2: too few"


def test_the_log_level_is_passed_on_unchanged() -> None:
    assert make_plan({"LOG_LEVEL": "ERROR"}).server["LOG_LEVEL"] == "ERROR"


def test_problems_that_the_server_alone_can_find_are_reported_with_the_others() -> None:
    plan = make_plan({"CLIENTS": "0", "STRATEGY": "krum", "NUM_PARTITIONS": "2", "SEED": "x"})
    with pytest.raises(SettingsError) as caught:
        check(plan)
    names = [problem.partition("=")[0] for problem in caught.value.problems]
    assert sorted(names) == ["CLIENTS", "NUM_PARTITIONS", "SEED"]
    check(make_plan({}))


def test_every_client_gets_a_partition_and_a_name_of_its_own() -> None:
    plan = make_plan({"CLIENTS": "3", "ROUNDS": "5", "LEARNING_RATE": "0.01"})
    assert plan.server["NUM_PARTITIONS"] == plan.server["MIN_CLIENTS"] == "3"
    assert plan.server["NUM_ROUNDS"] == "5"
    assert plan.server["LEARNING_RATE"] == "0.01"
    assert [env["NODE_NAME"] for env in plan.clients.values()] == ["client-1", "client-2", "client-3"]
    assert {env["SERVER_ADDRESS"] for env in plan.clients.values()} == {"127.0.0.1:8080"}


def test_numbers_that_are_set_win_over_those_derived_from_clients() -> None:
    plan = make_plan({"CLIENTS": "5", "NUM_PARTITIONS": "4", "MIN_CLIENTS": "2", "NUM_ROUNDS": "9"})
    assert (plan.server["NUM_PARTITIONS"], plan.server["MIN_CLIENTS"]) == ("4", "2")
    assert plan.server["NUM_ROUNDS"] == "9"


def test_a_run_with_fewer_partitions_than_clients_does_not_wait_for_all_clients() -> None:
    plan = make_plan({"CLIENTS": "5", "NUM_PARTITIONS": "4"})
    assert (plan.server["MIN_CLIENTS"], plan.problems) == ("4", [])


def test_sites_with_their_own_data_have_no_partitions() -> None:
    assert "NUM_PARTITIONS" not in make_plan({"PARTITION": "none"}).server


@pytest.mark.parametrize(
    ("listening", "dialled"),
    [("0.0.0.0:9000", "127.0.0.1:9000"), ("[::]:9000", "[::1]:9000"), ("10.1.2.3:80", "10.1.2.3:80")],
)
def test_clients_dial_where_the_server_listens(listening: str, dialled: str) -> None:
    plan = make_plan({"LISTEN_ADDRESS": listening, "SERVER_ADDRESS": "elsewhere:1"})
    assert plan.clients["client-1"]["SERVER_ADDRESS"] == dialled
    assert plan.server["LISTEN_ADDRESS"] == listening
