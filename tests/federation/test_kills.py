"""Programs that are killed at any point of a run: it produces the undisturbed model."""

from pathlib import Path

import pytest
from _pytest.mark.structures import ParameterSet

from tests.federation.chaos import points
from tests.federation.chaos.killing import Kill
from tests.federation.chaos.reference import STRATEGIES, Plan, Reference
from tests.federation.chaos.stage import Stage
from tests.ports import find_free_port

TINY = {"TASK": "tiny_task"}


def mark(strategy: str) -> ParameterSet:
    """Mark all strategies except the default as slow."""
    return pytest.param(strategy, marks=[] if strategy == "fedavg" else [pytest.mark.slow])


@pytest.mark.parametrize("strategy", [mark(strategy) for strategy in STRATEGIES])
def test_a_server_that_is_killed_at_every_point_ends_with_the_same_model_and_trains_nothing_twice(
    strategy: str, stage: Stage, reference: Reference
) -> None:
    plan = Plan(strategy, rounds=points.ROUNDS)
    nodes = [stage.start_client(NODE_NAME=name, **TINY) for name in plan.names]
    for kill in points.OF_SERVER:
        code = stage.start_server(fault=kill, **plan.settings).wait()
        assert code == -9, f"{kill}: {code}\n{stage.programs[-1].log}"
    assert stage.start_server(**plan.settings).wait() == 0, stage.logs
    assert [node.wait() for node in nodes] == [0, 0], stage.logs
    assert stage.facts["model_sha256"] == reference.digest(plan)
    assert [line["round"] for line in stage.history] == [1, 2, 3, 4]
    assert stage.trainings == plan.trainings
    assert stage.halves == []
    assert "Traceback" not in stage.logs


def test_a_client_that_is_killed_at_every_point_and_returns_costs_the_other_nodes_nothing(
    stage: Stage, reference: Reference
) -> None:
    plan = Plan(rounds=points.ROUNDS)
    server = stage.start_server(LEASE_GRACE=30, **plan.settings)
    other = stage.start_client(NODE_NAME="east", **TINY)
    for kill in (*points.OF_CLIENT, None):
        north = stage.start_client(NODE_NAME="north", fault=kill, **TINY)
        code = north.wait()
        assert code == (-9 if kill else 0), f"{kill}: {code}\n{north.log}\n{server.log}"
    assert [program.wait() for program in (server, other)] == [0, 0], stage.logs
    assert stage.facts["model_sha256"] == reference.digest(plan)
    assert [(line["round"], line["missing"]) for line in stage.history] == [(n, []) for n in (1, 2, 3, 4)]
    (partition,) = {
        n["partition"] for line in stage.history for n in line["nodes"] if n["name"] == "local.east"
    }
    assert [stage.trainings[number, partition] for number in (1, 2, 3, 4)] == [1, 1, 1, 1]
    assert "Traceback" not in stage.logs


def test_a_server_that_is_killed_once_it_has_decided_to_stop_stops_at_that_round(
    stage: Stage, reference: Reference
) -> None:
    undisturbed = Plan(rounds=2)
    # The accuracy of no later round is lower than that of round 1.
    settings = {**Plan(rounds=4).settings, "BEST_METRIC": "accuracy:min", "PATIENCE": 1}
    nodes = [stage.start_client(NODE_NAME=name, **TINY) for name in undisturbed.names]
    for kill in (
        Kill("after", "server.record.checkpoint:save", call=2),
        Kill("after", "server.record.run:RunRecord._add_line"),
        Kill("before", "server.record.run:RunRecord.finish"),
        Kill("after", "pathlib:Path.replace", about="best.npz"),
    ):
        code = stage.start_server(fault=kill, **settings).wait()
        assert code == -9, f"{kill}: {code}\n{stage.programs[-1].log}"
    assert stage.start_server(**settings).wait() == 0, stage.logs
    assert [node.wait() for node in nodes] == [0, 0], stage.logs
    assert [line.get("stopped") for line in stage.history] == [None, "patience"]
    assert stage.facts["stopped"] == "patience"
    assert stage.facts["model_sha256"] == reference.digest(undisturbed)
    assert stage.facts["best_sha256"] == reference.digest(Plan(rounds=1))
    assert stage.trainings == undisturbed.trainings
    assert "stopped=patience" in stage.programs[-1].log


def test_a_run_with_random_transforms_and_a_schedule_ends_with_the_same_model(
    stage: Stage, tmp_path: Path
) -> None:
    task = {"TASK": "noisy_task"}
    schedule = {"OPTIMIZER": "adam", "LR_SCHEDULE": "warmup:2+cosine:4", "LOCAL_EPOCHS": 2}
    settings = {**Plan().settings, **schedule, "WEIGHT_DECAY": 0.01, "CLIP_GRADIENT": 0.5, "LEASE_GRACE": 30}
    undisturbed = Stage(tmp_path / "undisturbed", find_free_port())
    undisturbed.folder.mkdir()
    try:
        programs = [undisturbed.start_server(**settings)]
        programs += [undisturbed.start_client(NODE_NAME=name, **task) for name in Plan().names]
        assert [program.wait() for program in programs] == [0, 0, 0], undisturbed.logs
    finally:
        undisturbed.end()

    # In round 2 a client dies in the middle of its first epoch, in round 3 the server before its checkpoint.
    in_an_epoch = Kill(1, "client.batches:StreamedData.shuffled_batches", call=3)
    before_checkpoint = Kill("before", "server.record.checkpoint:save", call=3)
    server = stage.start_server(fault=before_checkpoint, **settings)
    north = stage.start_client(NODE_NAME="north", **task)
    east = stage.start_client(NODE_NAME="east", fault=in_an_epoch, **task)
    assert east.wait() == -9, east.log
    east = stage.start_client(NODE_NAME="east", **task)
    assert server.wait() == -9, server.log
    server = stage.start_server(**settings)
    assert [program.wait() for program in (server, north, east)] == [0, 0, 0], stage.logs
    assert stage.facts["model_sha256"] == undisturbed.facts["model_sha256"]
    rates = [line["learning_rate"] for line in stage.history]
    assert rates == [line["learning_rate"] for line in undisturbed.history]
    assert len(set(rates)) > 2
