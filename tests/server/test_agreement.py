"""From the first hello to round 1: who is waited for, who does not fit, and what round 1 starts from."""

from typing import Any

import numpy as np
import pytest
from flwr.app import Message

from fedmx.errors import FederationError, SettingsError, TooFewNodesError, TrainingFailedError
from fedmx.settings import ServerSettings
from fedmx.values import PartitionRule
from server.agreement import agree
from server.engine import adapt
from server.model import GlobalModel
from server.nodes import Nodes
from tests.server.federation import Federation
from tests.server.local_grid import LocalGrid
from tests.server.nodes import Config, NullNode, unpack


def open_with(nodes: list[NullNode], **settings: Any) -> GlobalModel:
    given = {"num_partitions": len(nodes), "min_clients": len(nodes), "client_wait_timeout": 0.1}
    chosen = ServerSettings(**{**given, **settings})
    grid = LocalGrid(dict(enumerate(nodes, start=10)))
    return agree(adapt(grid), Nodes(adapt(grid), chosen), chosen).model


def failure(kind: type[FederationError], nodes: list[NullNode], **settings: Any) -> str:
    with pytest.raises(kind) as caught:
        open_with(nodes, **settings)
    assert type(caught.value) is kind
    return str(caught.value)


MLP = {"0.weight": np.arange(6, dtype=np.float32).reshape(2, 3), "0.bias": np.full(2, 0.5, np.float32)}


def test_round_1_starts_from_the_arrays_of_the_nodes_in_the_models_order() -> None:
    model = open_with([NullNode(initial=MLP), NullNode(initial=MLP)])
    values = unpack(model.arrays)
    assert list(values) == list(model.layout.arrays) == ["0.weight", "0.bias"]
    np.testing.assert_array_equal(values["0.weight"], MLP["0.weight"])


def test_only_one_node_sends_its_arrays() -> None:
    nodes = [NullNode(), NullNode(), NullNode()]
    open_with(nodes, seed=7)
    assert [node.asked_to("query")[0]["with-arrays"] for node in nodes] == [True, False, False]
    assert {node.asked_to("query")[0]["seed"] for node in nodes} == {7}


def test_nodes_that_built_other_arrays_from_the_same_seed_are_named() -> None:
    other = {**MLP, "0.bias": np.zeros(2, np.float32)}
    nodes = [NullNode(initial=MLP), NullNode(initial=other), NullNode(initial=MLP), NullNode(initial=other)]
    assert failure(TrainingFailedError, nodes, seed=3) == (
        "nodes 11, 13 built different initial arrays than node 10 from SEED=3;"
        " expected the same task, pretrained weights and packages on every node"
    )


def test_a_node_whose_digest_does_not_match_its_arrays_is_named() -> None:
    liar = NullNode(description={"initial-sha256": "00"})
    assert failure(TrainingFailedError, [liar]).startswith(
        "nodes 10 built different initial arrays than node 10"
    )


def test_a_node_with_another_model_is_named_with_both() -> None:
    other = {**MLP, "0.bias": np.zeros(3, np.float32)}
    assert failure(TrainingFailedError, [NullNode(initial=MLP), NullNode(initial=other)]) == (
        'node 11 differs from node 10: its arrays is ["0.bias", "float32", [3], "trained"],'
        ' expected ["0.bias", "float32", [2], "trained"]'
    )


def test_initial_arrays_are_checked_like_updates() -> None:
    broken = {**MLP, "0.bias": np.array([np.nan, 0], np.float32)}
    assert failure(TrainingFailedError, [NullNode(initial=broken)]) == (
        "node 10: its initial arrays: array '0.bias' has values that are not finite"
    )


def test_a_description_that_cannot_be_parsed_is_reported() -> None:
    assert failure(TrainingFailedError, [NullNode(description={"arrays": ["?"]})]).startswith(
        "node 10: it does not describe itself as a node: "
    )
    assert failure(TrainingFailedError, [NullNode(description={"metrics": ["loss", "a b"]})]) == (
        "node 10: metric 'a b': expected at most 64 letters, digits, '.', '_' or '-', a letter or digit first"
    )


class Broken(NullNode):
    def _query(self, *_: object) -> Any:
        raise ZeroDivisionError("no data\nhere")


class Deaf(LocalGrid):
    """A grid whose node 10 never answers."""

    def _call(self, message: Message) -> Message | None:
        return None if message.metadata.dst_node_id == 10 else super()._call(message)


def test_a_node_that_raises_is_reported_with_its_cause_if_the_others_are_too_few() -> None:
    assert failure(TrainingFailedError, [NullNode(), Broken()]) == (
        "1 of 2 nodes can begin, 2 needed (MIN_UPDATES): node 11: no data\\nhere"
    )


def test_many_nodes_that_raise_are_twenty_lines_and_one_error_of_limited_length(
    caplog: pytest.LogCaptureFixture,
) -> None:
    reason = failure(TrainingFailedError, [Broken() for _ in range(30)])
    assert reason.count("no data") == 20
    assert reason.endswith("; and 10 more")
    lines = [line for line in caplog.messages if line.startswith("rejected a reply")]
    assert len(lines) == 21
    assert lines[-1].endswith("more_nodes=10")


def test_a_node_that_is_there_and_does_not_answer_is_named_where_the_others_are_too_few() -> None:
    grid = Deaf({10: NullNode(), 11: NullNode()})
    settings = ServerSettings(num_partitions=2)
    with pytest.raises(TrainingFailedError) as caught:
        agree(adapt(grid), Nodes(adapt(grid), settings), settings)
    assert (
        str(caught.value)
        == "1 of 2 nodes can begin, 2 needed (MIN_UPDATES): node 10: no reply within ROUND_TIMEOUT=600"
    )


@pytest.mark.parametrize("grid", [LocalGrid({10: Broken()}), Deaf({10: NullNode()})])
def test_a_run_starts_without_a_node_that_raises_or_does_not_answer_if_the_others_are_enough(
    grid: LocalGrid,
) -> None:
    others = [NullNode(initial=MLP), NullNode(initial=MLP)]
    grid.nodes.update(enumerate(others, start=11))
    settings = ServerSettings(num_partitions=3, min_clients=2)
    nodes = Nodes(adapt(grid), settings)
    model = agree(adapt(grid), nodes, settings).model
    np.testing.assert_array_equal(unpack(model.arrays)["0.weight"], MLP["0.weight"])
    assert [[c["partition"] for c in node.asked_to("query")] for node in others] == [[1, 1], [2, 2]]
    assert [who.node_id for who in nodes.participants()] == [10, 11, 12], "it keeps its partition"


def open_without_first(others: int, **settings: Any) -> tuple[GlobalModel, list[list[Config]]]:
    """Agree on a run whose first node leaves when it is queried; return what the others were asked."""

    class Leaving(LocalGrid):
        def _call(self, message: Message) -> Message | None:
            self.nodes.pop(10, None)
            return super()._call(message)

    nodes = [NullNode(initial=MLP) for _ in range(others)]
    grid = Leaving({10: NullNode(), **dict(enumerate(nodes, start=11))})
    chosen = ServerSettings(**{"join_window": 0.0, "client_wait_timeout": 0.1, **settings})
    return agree(adapt(grid), Nodes(adapt(grid), chosen), chosen).model, [
        node.asked_to("query") for node in nodes
    ]


def test_a_run_opens_without_a_node_that_left_where_those_who_stay_are_enough() -> None:
    model, asked = open_without_first(2, min_clients=2)
    np.testing.assert_array_equal(unpack(model.arrays)["0.weight"], MLP["0.weight"])
    newest = [configs[-1] for configs in asked]
    assert [(c["partition"], c["num-partitions"]) for c in newest] == [(0, 2), (1, 2)], "none is left over"
    assert [c["with-arrays"] for c in newest] == [True, False]


def test_a_waiting_node_takes_the_place_of_one_that_left_before_round_1() -> None:
    _, asked = open_without_first(2, num_partitions=2, min_clients=2)
    assert [[c["partition"] for c in configs] for configs in asked] == [[1, 1], [0]]


def test_a_run_waits_for_other_nodes_if_its_own_left_before_round_1() -> None:
    with pytest.raises(TooFewNodesError, match=r"^1 of 2 nodes were ready within 0.1 s \(CLIENT_WAIT"):
        open_without_first(1, num_partitions=2, min_clients=2)


@pytest.mark.parametrize(
    ("given", "name"), [({"num_partitions": 3}, "NUM_PARTITIONS"), ({"num_partitions": 0}, "MIN_CLIENTS")]
)
def test_too_few_nodes_are_counted_at_the_end_of_the_wait(given: dict[str, Any], name: str) -> None:
    nodes = [NullNode(), NullNode()]
    assert failure(TooFewNodesError, nodes, min_clients=3, client_wait_timeout=0.2, **given) == (
        f"2 of 3 nodes were ready within 0.2 s (CLIENT_WAIT_TIMEOUT); start more clients, or lower {name}"
    )


def test_more_partitions_than_examples_end_the_wait_with_the_first_ready_node(federation: Federation) -> None:
    node = NullNode()
    with pytest.raises(SettingsError) as caught:
        federation.run({"a": node}, num_partitions=61, client_wait_timeout=60.0)
    expected = "NUM_PARTITIONS=61: node a has 60 train examples; expected at most 60 partitions"
    assert (caught.value.exit_code, str(caught.value)) == (2, expected)
    assert str(node.outcome) == f"the server reports that the run failed: {expected}"
    assert (federation.facts["status"], federation.facts["exit_code"]) == ("failed", 2)


def test_without_a_number_of_partitions_there_is_one_for_each_node_that_came() -> None:
    nodes = [NullNode() for _ in range(3)]
    open_with(nodes, num_partitions=0, min_clients=2, join_window=0.0)
    parts = [node.asked_to("query")[0] for node in nodes]
    assert [(part["partition"], part["num-partitions"]) for part in parts] == [(0, 3), (1, 3), (2, 3)]


def test_nodes_without_a_partition_wait() -> None:
    nodes = [NullNode() for _ in range(3)]
    open_with(nodes, num_partitions=2, min_clients=2)
    assert [len(node.asked) for node in nodes] == [1, 1, 0]


def test_sites_are_sent_no_partition() -> None:
    nodes = [NullNode(), NullNode()]
    open_with(nodes, num_partitions=0, join_window=0.0, partition=PartitionRule("none"))
    config = nodes[0].asked_to("query")[0]
    assert config.pop("node")
    assert config == {
        "with-arrays": True,
        "seed": 0,
        "partition-rule": "none",
        "task-options": "{}",
        "schema": "",
    }


def test_a_strategy_that_needs_the_training_loss_refuses_a_task_without_one() -> None:
    node = NullNode(description={"metrics": ["loss", "mAP"], "train-metrics": ["mAP"]})
    line = failure(SettingsError, [node], strategy="qfedavg")
    assert line.startswith("STRATEGY=qfedavg: ")
    assert "mAP" in line
    open_with([node], strategy="fedavg")
    without_evaluation = NullNode(description={"metrics": [], "train-metrics": ["loss"]})
    open_with([without_evaluation], strategy="qfedavg")


BATCH_NORM = {"gamma": np.ones(2, np.float32), "running_var": np.ones(2, np.float32)}


@pytest.mark.parametrize("mode", ["dp-fixed", "dp-adaptive"])
def test_privacy_refuses_a_model_with_running_statistics(mode: str) -> None:
    node = NullNode(initial=BATCH_NORM, running=("running_var",))
    line = failure(SettingsError, [node], dp_mode=mode)
    assert line.startswith(f"DP_MODE={mode}: ")
    for expected in ("running_var", "FROZEN", "DP_MODE=off"):
        assert expected in line
