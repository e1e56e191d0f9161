"""Nodes that die, stall or come late, between rounds and within them."""

import threading
import time

import pytest

from fedmx.errors import TrainingFailedError
from tests.bounds import HANG_S
from tests.server.federation import Federation
from tests.server.nodes import GOOD, Config, Metrics, NullNode, Values, keep, shift


def test_a_run_continues_without_a_node_that_died_and_names_it(federation: Federation) -> None:
    nodes = {"a": NullNode(shift(1.0)), "b": NullNode(shift(1.0)), "doomed": None}
    federation.run(nodes, min_clients=2, num_rounds=3)
    assert federation.missing == [[], ["doomed"], []]
    assert [len(line["nodes"]) for line in federation.history] == [3, 2, 2]
    assert federation.facts["best"] == {"round": 1, "metric": "loss", "value": 0.5}, (
        "later rounds lack a partition"
    )
    assert federation.model["0.weight"][0, 0] == 3.0


def test_a_waiting_node_takes_the_partition_of_one_that_died(federation: Federation) -> None:
    waiting = NullNode(shift(1.0))
    federation.run(
        {"a": NullNode(shift(1.0)), "doomed": None, "waiting": waiting},
        num_partitions=2,
        num_rounds=3,
        min_clients=2,
    )
    held = [{node["name"]: node["partition"] for node in line["nodes"]} for line in federation.history]
    assert held == [{"a": 0, "doomed": 1}, {"a": 0, "waiting": 1}, {"a": 0, "waiting": 1}]
    assert federation.missing == [[], ["doomed"], []]


def test_a_run_without_any_node_left_ends_within_its_timeouts(federation: Federation) -> None:
    started = time.monotonic()
    with pytest.raises(TrainingFailedError) as caught:
        federation.run({"doomed": None}, num_rounds=3)
    assert str(caught.value) == (
        "round 2 failed 3 times, the last time: 0 updates admitted, 1 needed: node doomed: its connection was"
        " lost and not restored within LEASE_GRACE=0.2"
    )
    assert time.monotonic() - started < HANG_S
    assert federation.facts["status"] == "failed"


def test_fewer_nodes_than_a_round_needs_are_not_enough_although_all_of_them_answered(
    federation: Federation,
) -> None:
    left = NullNode()
    with pytest.raises(TrainingFailedError) as caught:
        federation.run({"a": left, "doomed": None}, num_rounds=3)
    assert str(caught.value) == (
        "round 2 failed 3 times, the last time: 1 updates admitted, 2 needed: node doomed: its connection was"
        " lost and not restored within LEASE_GRACE=0.2"
    )
    assert len(left.asked_to("train")) == 2


def test_a_round_closes_at_its_timeout_without_a_node_that_stalls(
    federation: Federation, caplog: pytest.LogCaptureFixture
) -> None:
    released = threading.Event()

    def stall(values: Values, config: Config) -> tuple[Values, Metrics]:
        if config["server-round"] == 1:
            released.wait(HANG_S)
        return values, GOOD

    def release(values: Values, config: Config) -> tuple[Values, Metrics]:
        if config["server-round"] == 2:
            released.set()
        return keep(values, config)

    nodes = {"a": NullNode(release), "slow": NullNode(stall)}
    federation.run(nodes, min_clients=1, num_rounds=3, round_timeout=5.0)
    assert federation.missing == [["slow"], [], []]
    assert "node=slow" in caplog.text
    assert 'reason="no reply within ROUND_TIMEOUT=5"' in caplog.text
    assert [len(line["nodes"]) for line in federation.history] == [1, 2, 2]
    assert federation.history[0]["seconds"]["train"] >= 5.0
