"""The rules of leases, as plain functions of plain values."""

from dataclasses import replace
from typing import Any

import pytest
from flwr.app import ConfigRecord
from hypothesis import given
from hypothesis import strategies as st

from fedmx.link.member import NodeView
from server import leases as ledger
from server.leases import StartRules

READY = ConfigRecord()
GRACE_S = 10.0


def node(
    name: str, *, present: bool = True, loading: bool = False, since: float = 0.0, **entries: Any
) -> NodeView:
    description = (
        None if loading else ConfigRecord({key.replace("_", "-"): value for key, value in entries.items()})
    )
    return NodeView(name, sum(name.encode()), present, description, since)


def renew(leases: dict[int, str], number: int, nodes: list[NodeView], now: float = 0.0) -> dict[int, str]:
    return ledger.renew(leases, number, nodes, now=now, grace_s=GRACE_S)


def test_free_partitions_go_to_nodes_in_the_order_of_joining() -> None:
    assert renew({}, 2, [node("c"), node("a"), node("b")]) == {0: "c", 1: "a"}


def test_a_node_that_is_present_keeps_its_lease_whichever_nodes_wait() -> None:
    assert renew({1: "b"}, 2, [node("a"), node("b"), node("c")]) == {1: "b", 0: "a"}


def test_a_node_that_is_gone_keeps_its_lease_until_the_grace_is_over() -> None:
    nodes = [node("a", present=False, since=5.0), node("b")]
    assert renew({0: "a"}, 1, nodes, now=5.0 + GRACE_S - 0.001) == {0: "a"}
    assert renew({0: "a"}, 1, nodes, now=5.0 + GRACE_S) == {0: "b"}


def test_a_lease_without_anyone_waiting_is_free() -> None:
    assert renew({0: "a"}, 1, [node("a", present=False)], now=GRACE_S) == {}


def test_a_node_that_came_back_and_loads_keeps_its_lease() -> None:
    assert renew({0: "a"}, 1, [node("a", loading=True), node("b")]) == {0: "a"}


def test_a_node_that_is_loading_gets_no_lease() -> None:
    assert renew({}, 1, [node("a", loading=True), node("b")]) == {0: "b"}


def test_a_node_that_was_never_ready_is_not_waited_for() -> None:
    gone = node("a", present=False, loading=True, since=0.0)
    assert not ledger.is_within_grace(gone, now=0.0, grace_s=GRACE_S)


NAMES = [f"node-{number}" for number in range(6)]


@st.composite
def _nodes(draw: st.DrawFn) -> list[NodeView]:
    names = draw(st.permutations(NAMES).flatmap(lambda order: st.sampled_from([order[:k] for k in range(7)])))
    return [
        node(
            name,
            present=draw(st.booleans()),
            loading=draw(st.booleans()),
            since=draw(st.floats(0, 2 * GRACE_S)),
        )
        for name in names
    ]


@given(st.integers(1, 5), st.lists(_nodes(), min_size=1, max_size=8))
def test_partitions_and_nodes_are_paired_and_leases_of_awaited_nodes_stay(
    number: int, history: list[list[NodeView]]
) -> None:
    now = 2 * GRACE_S
    leases: dict[int, str] = {}
    for nodes in history:
        before, leases = leases, renew(leases, number, nodes, now)
        assert set(leases) <= set(range(number))
        assert len(set(leases.values())) == len(leases), "a node has two partitions"
        awaited = {n.name for n in nodes if ledger.is_within_grace(n, now=now, grace_s=GRACE_S)}
        assert {p: name for p, name in before.items() if name in awaited}.items() <= leases.items()
        assert set(leases.values()) <= awaited
        idle = {n.name for n in nodes if n.is_ready} - set(leases.values())
        assert not idle or len(leases) == number, "a node waits beside a free partition"


def test_participants_are_listed_by_partition() -> None:
    nodes = [node("a"), node("b"), node("c")]
    listed = ledger.participants({2: "a", 0: "c", 1: "b"}, nodes)
    assert [(who.partition, who.name) for who in listed] == [(0, "c"), (1, "b"), (2, "a")]
    assert [who.node_id for who in listed] == [nodes[2].node_id, nodes[1].node_id, nodes[0].node_id]


def test_a_lease_of_a_node_that_the_grid_forgot_takes_no_part() -> None:
    assert ledger.participants({0: "a"}, []) == []


def test_sites_are_listed_by_name_once_they_are_ready() -> None:
    nodes = [
        node("c"),
        node("a"),
        node("loading", loading=True),
        node("gone", present=False, since=1.0),
        node("lost", present=False, since=-GRACE_S),
    ]
    listed = ledger.participants_of_sites(nodes, now=1.0, grace_s=GRACE_S)
    assert [(who.partition, who.name) for who in listed] == [(None, "a"), (None, "c"), (None, "gone")]


def may_start(nodes: list[NodeView], now: float = 100.0, **rules: Any) -> bool:
    defaults = StartRules(num_partitions=0, min_clients=2, join_window_s=5.0, lease_grace_s=120.0)
    return ledger.may_start(nodes, replace(defaults, **rules), now=now)


def test_a_run_with_a_number_of_partitions_starts_when_so_many_nodes_are_ready() -> None:
    settings = {"num_partitions": 3, "min_clients": 1}
    two = [node("a"), node("b", since=100.0)]
    assert not may_start([*two, node("c", loading=True)], **settings)
    assert not may_start([*two, node("c", present=False)], **settings)
    assert may_start([*two, node("c", since=100.0)], **settings)
    assert may_start([*two, node("c"), node("d", loading=True)], **settings)


def test_a_run_without_one_waits_until_no_node_has_joined_for_the_join_window() -> None:
    nodes = [node("a", since=10.0), node("b", since=20.0)]
    assert not may_start(nodes, now=24.9, min_clients=2, join_window_s=5.0)
    assert may_start(nodes, now=25.0, min_clients=2, join_window_s=5.0)
    assert not may_start(nodes, now=25.0, min_clients=3, join_window_s=5.0)


def test_a_run_without_one_waits_for_nodes_that_are_still_loading() -> None:
    nodes = [node("a"), node("b"), node("c", loading=True)]
    assert not may_start(nodes, min_clients=2)
    assert may_start(nodes[:2], min_clients=2)


def test_a_node_that_left_neither_counts_nor_delays() -> None:
    nodes = [node("a"), node("b"), node("c", present=False, since=100.0)]
    assert may_start(nodes, min_clients=2)
    assert not may_start(nodes, min_clients=3)


def test_no_node_is_never_enough() -> None:
    assert not may_start([], min_clients=1, join_window_s=0.0)


@pytest.mark.parametrize(
    ("kind", "entries"),
    [("train", {"train_examples": 7}), ("test", {"train_examples": 70, "test_examples": 7})],
)
def test_more_partitions_than_examples_are_noticed_with_the_first_ready_node(
    kind: str, entries: dict[str, Any]
) -> None:
    nodes = [node("a", loading=True), node("b", **entries)]
    assert ledger.find_shortage(nodes, 7) is None
    assert ledger.find_shortage(nodes, 8) == (
        f"NUM_PARTITIONS=8: node b has 7 {kind} examples; expected at most 7 partitions"
    )


def test_a_node_that_does_not_say_how_much_it_has_is_no_shortage() -> None:
    assert ledger.find_shortage([node("a")], 8) is None
