"""What a site sees of a run: its client's lines have the numbers of the server's history."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

import pytest

from tests.federation.chaos.killing import Kill, replace
from tests.federation.chaos.reference import Plan, Reference
from tests.federation.chaos.stage import Stage
from tests.federation.programs import Program

TINY = {"TASK": "tiny_task", "LOG_FORMAT": "json"}
OWN, FEDERATION = "own result", "federation result"


def read(program: Program, event: str) -> list[dict[str, Any]]:
    """Return the lines of one event."""
    lines = [json.loads(line) for line in program.log.splitlines()]
    return [line for line in lines if line["event"] == event]


def rounded(metrics: Mapping[str, float]) -> Any:
    """Return metrics with as many digits as the log has."""
    return pytest.approx(metrics, rel=1e-5)


def numbers(lines: Iterable[Mapping[str, Any]]) -> list[int]:
    return [line["round"] for line in lines]


def test_the_lines_of_each_client_have_the_numbers_of_the_history(stage: Stage) -> None:
    plan = Plan(rounds=3)
    programs = [stage.start_server(**plan.settings)]
    programs += [stage.start_client(NODE_NAME=name, **TINY) for name in plan.names]
    assert [program.wait() for program in programs] == [0, 0, 0], stage.logs
    for name, program in zip(plan.names, programs[1:], strict=True):
        own = read(program, OWN)
        assert numbers(own) == [1, 2, 3]
        for line, known in zip(own, stage.history, strict=True):
            (node,) = (node for node in known["nodes"] if node["name"] == f"local.{name}")
            trained = {f"train_{key}": value for key, value in node["metrics"].items()}
            assert line["metrics"] == rounded({**trained, **node["evaluate"]["metrics"]})
            assert (line["rounds"], line["run"]) == (3, stage.facts["run_id"])
            assert line["examples"] == node["examples"]
            assert line["tested"] == node["evaluate"]["num_examples"]
            assert line["bytes_down"] == node["bytes_down"]
            # Beside its replies, a node sends signs of life.
            assert 0 <= node["bytes_up"] - line["bytes_up"] < 100
        found = read(program, FEDERATION)
        assert numbers(found) == [1, 2, 3], "the last one's came with the goodbye"
        for line, known in zip(found, stage.history, strict=True):
            assert line["metrics"] == rounded(known["evaluate"]["metrics"])
            assert (line["nodes"], line["run"]) == (2, stage.facts["run_id"])
    assert [node["device"] for node in read_text(programs[0], "node ready")] == ["cpu(0)"] * 2


def read_text(program: Program, event: str) -> list[dict[str, str]]:
    """Return the fields of one event's lines of text."""
    lines = [line.partition(f" {event} ")[2] for line in program.log.splitlines()]
    return [dict(field.split("=", 1) for field in line.split()) for line in lines if line]


def test_nodes_that_are_sampled_for_one_step_log_what_they_did(stage: Stage) -> None:
    fractions = {"fraction_train": 0.5, "fraction_evaluate": 0.5}
    server = stage.start_server(**Plan(rounds=6).settings | {"STRATEGY_ARGS": json.dumps(fractions)})
    names = Plan().names
    nodes = [stage.start_client(NODE_NAME=name, **TINY) for name in names]
    assert [program.wait() for program in (server, *nodes)] == [0, 0, 0], stage.logs
    parts = set()
    for name, program in zip(names, nodes, strict=True):
        found = {line["round"]: line for line in read(program, OWN)}
        for known in stage.history:
            trained = [node for node in known["nodes"] if node["name"] == f"local.{name}"]
            tested = [
                node
                for node in (*known["nodes"], *known["only_evaluated"])
                if node["name"] == f"local.{name}" and node["evaluate"]
            ]
            parts.add((bool(trained), bool(tested)))
            line = found.pop(known["round"], {})
            assert ("examples" in line, "tested" in line) == (bool(trained), bool(tested))
        assert not found
        assert numbers(read(program, FEDERATION))[-1] == 6
    assert parts == {(True, True), (True, False), (False, True), (False, False)}


def test_a_client_logs_each_round_once_although_the_server_is_killed(
    stage: Stage, reference: Reference
) -> None:
    plan = Plan(rounds=4)
    nodes = [stage.start_client(NODE_NAME=name, **TINY) for name in plan.names]
    for kill in (
        # While round 2 is evaluated, and once its checkpoint is on disk but its line is not.
        Kill("after", "fedmx.link.requests:Requests.settle", call=9),
        Kill("after", "server.record.checkpoint:save", call=1),
        Kill("before", "fedmx.protocol.control:build_goodbye"),
    ):
        assert stage.start_server(fault=kill, **plan.settings).wait() == -9, stage.logs
    assert stage.start_server(**plan.settings).wait() == 0, stage.logs
    assert [node.wait() for node in nodes] == [0, 0], stage.logs
    assert stage.facts["model_sha256"] == reference.digest(plan)
    assert stage.trainings == plan.trainings
    for node in nodes:
        assert numbers(read(node, OWN)) == [1, 2, 3, 4]
        assert numbers(read(node, FEDERATION)) == [1, 2, 3, 4]


def test_a_run_that_fails_tells_its_nodes_the_result_of_its_last_round(stage: Stage) -> None:
    plan = Plan(rounds=3)
    settings = {**plan.settings, "MIN_UPDATES": 2, "LEASE_GRACE": 0.1}
    server = stage.start_server(**settings)
    stays = stage.start_client(NODE_NAME="east", **TINY)
    leaves = Kill("before", "client.trainer:Trainer.train", call=2)
    stage.start_client(NODE_NAME="north", fault=leaves, **TINY)
    assert (server.wait(), stays.wait()) == (4, 4), stage.logs
    assert numbers(read(stays, FEDERATION)) == [1]
    assert numbers(read(stays, OWN)) == [1, 2]
    assert [line["metrics"] for line in read(stays, FEDERATION)] == [
        rounded(stage.history[0]["evaluate"]["metrics"])
    ]


def test_a_client_works_beside_a_server_that_says_nothing_of_its_run(stage: Stage) -> None:
    server = stage.start_server(fault=Silent(), **Plan(rounds=2).settings)
    nodes = [stage.start_client(NODE_NAME=name, **TINY) for name in Plan().names]
    assert [program.wait() for program in (server, *nodes)] == [0, 0, 0], stage.logs
    for node in nodes:
        assert numbers(read(node, OWN)) == [1, 2]
        assert not any(line.keys() & {"run", "rounds"} for line in read(node, OWN))


class Silent:
    """A server of an earlier version, as far as its messages' configs go."""

    def arm(self) -> None:
        replace("fedmx.round_news:RoundNews.to_config", lambda _: lambda _: {})
