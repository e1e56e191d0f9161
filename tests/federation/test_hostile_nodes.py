"""A node with invalid replies does not affect the run: three honest nodes train as if it were not there."""

from flwr.app import MessageType

from tests.federation.chaos import hostile
from tests.federation.chaos.hostile import Hostile, Mute
from tests.federation.chaos.stage import Fault, Stage
from tests.ports import find_free_port

TINY = {"TASK": "tiny_task"}
WAYS = (
    hostile.lie_about_metrics,
    hostile.misshape,
    hostile.poison,
    hostile.have_no_examples,
    hostile.fail,
)
REASONS = ("metric", "shape", "finite", "num-examples", "RuntimeError: no disk, no driver, no luck")


def federate(stage: Stage, fault: Fault, **settings: object) -> None:
    """Run a federation of one hostile node, which holds partition 0, and three honest ones."""
    server = stage.start_server(NUM_PARTITIONS=4, MIN_CLIENTS=4, MIN_UPDATES=3, **settings)
    stage.start_client(NODE_NAME="hostile", fault=fault, **TINY)
    server.wait_for("node ready node=local.hostile")
    honest = [stage.start_client(NODE_NAME=name, **TINY) for name in ("east", "north", "south")]
    assert [program.wait() for program in (server, *honest)] == [0] * 4, stage.logs
    for line in stage.history:
        assert sorted(node["name"] for node in line["nodes"]) == ["local.east", "local.north", "local.south"]


def test_invalid_updates_are_rejected_one_by_one_and_change_nothing(stage: Stage) -> None:
    federate(stage, Hostile(WAYS), NUM_ROUNDS=len(WAYS))
    rejected = [line["rejected"] for line in stage.history]
    assert [[(r["name"], r["step"]) for r in round_] for round_ in rejected] == [
        [("local.hostile", MessageType.TRAIN)]
    ] * len(WAYS)
    for (rejection,), reason in zip(rejected, REASONS, strict=True):
        assert reason in rejection["reason"]
    other = Stage(stage.folder / "other", find_free_port())
    other.folder.mkdir()
    try:
        federate(other, Hostile((hostile.fail,)), NUM_ROUNDS=len(WAYS))
        assert other.facts["model_sha256"] == stage.facts["model_sha256"]
    finally:
        other.end()


def test_a_node_that_never_sends_an_update_is_missing_in_every_round(stage: Stage) -> None:
    federate(stage, Hostile((hostile.say_nothing,)), NUM_ROUNDS=2, ROUND_TIMEOUT=4)
    assert stage.missing == [["local.hostile"], ["local.hostile"]]
    assert [line["evaluate"] is not None for line in stage.history] == [True, True]


def test_a_node_that_never_replies_is_missing_from_the_query_on(stage: Stage) -> None:
    federate(stage, Mute(), NUM_ROUNDS=2, ROUND_TIMEOUT=4)
    assert "no answer step=query node=local.hostile" in stage.programs[0].log
    assert stage.missing == [["local.hostile"], ["local.hostile"]]
