"""A user's own strategy over real processes: its state survives a kill, and mistakes are one line."""

import pytest

from tests.federation.chaos.killing import Kill
from tests.federation.chaos.stage import Stage
from tests.federation.programs import Federation

TINY = {"TASK": "tiny_task"}


def test_a_users_strategy_trains_the_same_model_after_kills_of_its_server(
    stage: Stage, federation: Federation
) -> None:
    name, arguments = "smoothed_strategy:make", '{"keep": 0.25}'
    code = federation.run(client_settings=TINY, STRATEGY=name, STRATEGY_ARGS=arguments, NUM_ROUNDS=4)
    assert code == 0, federation.logs
    settings = {
        "STRATEGY": name,
        "STRATEGY_ARGS": arguments,
        "NUM_ROUNDS": 4,
        "NUM_PARTITIONS": 2,
        "MIN_CLIENTS": 2,
    }
    nodes = [stage.start_client(NODE_NAME=name, **TINY) for name in ("east", "north")]
    for call in (2, 1):
        kill = Kill("after", "server.record.run:RunRecord.keep", call)
        assert stage.start_server(fault=kill, **settings).wait() == -9, stage.logs
    assert stage.start_server(**settings).wait() == 0, stage.logs
    assert [node.wait() for node in nodes] == [0, 0], stage.logs
    assert [line["round"] for line in stage.history] == [1, 2, 3, 4]
    assert stage.facts["model_sha256"] == federation.facts["model_sha256"]
    assert "WARNING strategy" not in stage.logs


def test_a_strategy_without_state_is_one_warning_and_its_minimum_of_nodes_is_not_waited_for(
    federation: Federation,
) -> None:
    strategy = "smoothed_strategy:make_without_state"
    assert federation.run(client_settings=TINY, STRATEGY=strategy, NUM_ROUNDS=1) == 0, federation.logs
    warnings = [line for line in federation.programs[0].log.splitlines() if "state_dict" in line]
    assert len(warnings) == 1
    assert "strategy=smoothed_strategy:make_without_state" in warnings[0]


@pytest.mark.parametrize(
    ("strategy", "arguments", "parts"),
    [
        ("nowhere:make", "{}", ["nowhere", "ModuleNotFoundError"]),
        ("smoothed_strategy:build", "{}", ["build"]),
        ("smoothed_strategy:np", "{}", ["np"]),
        ("smoothed_strategy:make", '{"hold": 1}', ["TypeError", "hold"]),
        ("os:getcwd", "{}", ["str"]),
        ("sys:exit", "{}", ["SystemExit"]),
        ("smoothed strategy:make", "{}", []),
    ],
)
def test_a_factory_that_does_not_work_is_reported_with_all_other_problems_before_the_server_listens(
    strategy: str, arguments: str, parts: list[str], federation: Federation
) -> None:
    server = federation.start_server(STRATEGY=strategy, STRATEGY_ARGS=arguments, BATCH_SIZE="many")
    assert server.wait() == 2, server.log
    errors = [line for line in server.log.splitlines() if "=" in line]
    assert len(errors) == 2
    for parts_of_one in (["BATCH_SIZE=", "many"], ["STRATEGY=", *parts]):
        assert any(all(part in line for part in parts_of_one) for line in errors), server.log
    assert "Traceback" not in server.log
    assert "listening" not in server.log
    assert not (federation.runs_dir / "latest").exists()


def test_an_error_of_a_users_strategy_ends_the_run_with_its_name(federation: Federation) -> None:
    assert federation.run(client_settings=TINY, STRATEGY="raising_strategy:make") == 4, federation.logs
    last = [line for line in federation.programs[0].log.splitlines() if " ERROR " in line][-1]
    assert "Raising" in last
    assert "KeyError" in last
    assert "Traceback" not in federation.programs[0].log
    assert federation.facts["status"] == "failed"
