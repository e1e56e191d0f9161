"""Names, instances and readiness: plain rules, no sockets."""

import threading
from dataclasses import dataclass, field
from typing import cast

import pytest
from flwr.app import ConfigRecord

from fedmx.errors import RefusedError
from fedmx.link import roster
from fedmx.link.member import Member, NodeView, Stream
from fedmx.link.roster import Roster
from tests.bounds import HANG_S


def find_difference(description: ConfigRecord, reference: ConfigRecord) -> str | None:
    if "task" not in description:
        return "its task is missing"
    ours = str(reference["task"])
    theirs = str(description["task"])
    return None if ours == theirs else f"its task is {theirs}, expected {ours}"


def stream_of(label: str) -> Stream:
    """A roster only compares streams and hands them out."""
    return cast("Stream", label)


def of(task: str) -> ConfigRecord:
    return ConfigRecord({"task": task})


@dataclass
class Rules:
    """A roster with a clock of its own."""

    now: float = 100.0
    roster: Roster = field(init=False)

    def __post_init__(self) -> None:
        self.roster = Roster(find_difference, clock=lambda: self.now)

    def join(self, name: str, instance: str, *, given: bool = False) -> Member:
        return self.roster.join(name, instance, stream_of(f"stream of {instance}"), is_name_given=given)[0]

    def leave(self, member: Member) -> bool:
        assert member.stream is not None
        return self.roster.leave(member, member.stream)

    @property
    def names(self) -> list[str]:
        return [node.name for node in self.roster.nodes()]


@pytest.fixture
def rules() -> Rules:
    return Rules()


def test_nodes_of_one_host_get_a_counter(rules: Rules) -> None:
    assert [rules.join("host", token).name for token in "abc"] == ["host", "host-2", "host-3"]
    assert [node.node_id for node in rules.roster.nodes()] == [2, 3, 4]


def test_the_same_instance_comes_back_under_its_name_and_replaces_its_stream(rules: Rules) -> None:
    rules.join("host", "a")
    second = rules.join("host", "b")
    member, replaced = rules.roster.join("host", "b", stream_of("new stream"), is_name_given=False)
    assert (member, member.name, replaced, member.stream) == (
        second,
        "host-2",
        stream_of("stream of b"),
        stream_of("new stream"),
    )
    assert rules.names == ["host", "host-2"]


def test_the_end_of_a_replaced_stream_is_not_a_departure(rules: Rules) -> None:
    member = rules.join("host", "a")
    _, replaced = rules.roster.join("host", "a", stream_of("new stream"), is_name_given=False)
    assert replaced is not None
    assert not rules.roster.leave(member, replaced)
    assert member.view().is_present
    assert rules.roster.leave(member, stream_of("new stream"))
    assert not member.view().is_present


def test_a_given_name_that_a_living_node_has_is_refused(rules: Rules) -> None:
    rules.join("north", "a", given=True)
    with pytest.raises(RefusedError) as caught:
        rules.join("north", "b", given=True)
    assert str(caught.value) == (
        "node north: a living node has this name; expected another NODE_NAME for each client"
    )
    assert rules.names == ["north"]


def test_a_name_that_was_not_given_gets_a_counter_beside_a_living_node(rules: Rules) -> None:
    rules.join("north", "a", given=True)
    assert rules.join("north", "b").name == "north-2"


def test_a_gone_nodes_name_is_heir_over_with_its_id_and_without_its_readiness(rules: Rules) -> None:
    gone = rules.join("north", "a", given=True)
    rules.roster.ready(gone, of("mnist"))
    rules.leave(gone)
    heir = rules.join("north", "b", given=True)
    assert heir is gone
    assert (heir.view().is_present, heir.view().is_ready) == (True, False)


def test_the_lowest_free_counter_is_heir_over_first(rules: Rules) -> None:
    members = [rules.join("host", token) for token in "abc"]
    rules.leave(members[1])
    assert rules.join("host", "d").name == "host-2"
    assert rules.join("host", "e").name == "host-4"


def test_an_instance_whose_name_was_heir_over_gets_another(rules: Rules) -> None:
    gone = rules.join("host", "a")
    rules.leave(gone)
    rules.join("host", "b")
    assert rules.join("host", "a").name == "host-2"


def test_a_node_that_comes_back_stays_ready_in_between(rules: Rules) -> None:
    member = rules.join("host", "a")
    rules.roster.ready(member, of("mnist"))
    rules.leave(member)
    assert rules.join("host", "a").view().is_ready


def test_a_view_has_the_time_of_joining_or_leaving(rules: Rules) -> None:
    member = rules.join("host", "a")
    rules.now = 105.0
    rules.roster.ready(member, of("mnist"))
    assert rules.roster.nodes() == [
        NodeView("host", 2, is_present=True, description=of("mnist"), since=100.0)
    ]
    rules.leave(member)
    assert rules.roster.nodes() == [
        NodeView("host", 2, is_present=False, description=of("mnist"), since=105.0)
    ]


def test_a_node_is_gone_for_good_after_the_grace(rules: Rules) -> None:
    member = rules.join("host", "a")
    rules.now = 1000.0
    assert not rules.roster.is_gone(member, 10.0)
    rules.leave(member)
    rules.now = 1009.9
    assert not rules.roster.is_gone(member, 10.0)
    rules.now = 1010.0
    assert rules.roster.is_gone(member, 10.0)


def test_a_node_that_differs_from_the_first_ready_node_is_refused(rules: Rules) -> None:
    rules.roster.ready(rules.join("north", "a"), of("mnist"))
    other = rules.join("south", "b")
    with pytest.raises(RefusedError) as caught:
        rules.roster.ready(other, of("cifar"))
    assert str(caught.value) == "node south differs from this federation: its task is cifar, expected mnist"
    assert not other.view().is_ready


def test_an_invalid_description_does_not_become_the_reference(rules: Rules) -> None:
    with pytest.raises(RefusedError, match="its task is missing"):
        rules.roster.ready(rules.join("north", "a"), ConfigRecord())
    rules.roster.ready(rules.join("south", "b"), of("mnist"))
    assert [node.is_ready for node in rules.roster.nodes()] == [False, True]


def test_an_empty_description_can_be_the_reference() -> None:
    roster = Roster(lambda one, other: None if one == other else "it differs")
    first, _ = roster.join("a", "a", stream_of("a"), is_name_given=True)
    second, _ = roster.join("b", "b", stream_of("b"), is_name_given=True)
    roster.ready(first, ConfigRecord())
    with pytest.raises(RefusedError, match="it differs"):
        roster.ready(second, of("mnist"))


def test_once_all_ready_nodes_are_gone_different_nodes_may_join(rules: Rules) -> None:
    north = rules.join("north", "a")
    south = rules.join("south", "b")
    rules.roster.ready(north, of("mnist"))
    rules.leave(north)
    rules.roster.ready(south, of("cifar"))
    assert south.view().is_ready


def test_once_a_run_has_begun_late_nodes_are_compared_with_its_first_nodes(rules: Rules) -> None:
    north = rules.join("north", "a")
    south = rules.join("south", "b")
    rules.roster.ready(north, of("mnist"))
    rules.roster.pin(of("mnist"))
    rules.leave(north)
    with pytest.raises(RefusedError, match="its task is cifar, expected mnist"):
        rules.roster.ready(south, of("cifar"))


def test_a_node_that_differs_from_a_resumed_run_is_refused_with_origin_and_remedy(rules: Rules) -> None:
    south = rules.join("south", "b")
    west = rules.join("west", "c")
    rules.roster.pin(of("mnist"), "run one", "; start a new run")
    with pytest.raises(RefusedError) as caught:
        rules.roster.ready(south, of("cifar"))
    reason = "differs from run one: its task is cifar, expected mnist; start a new run"
    assert str(caught.value) == f"node south {reason}"
    rules.roster.pin(of("mnist"))
    with pytest.raises(RefusedError) as caught:
        rules.roster.ready(west, of("cifar"))
    assert str(caught.value) == f"node west {reason}", "also once its nodes are there"


def test_endless_names_do_not_fill_the_memory(rules: Rules, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roster, "_MOST_MEMBERS", 3)
    rules.join("stays", "s")
    for name in "abcd":
        rules.leave(rules.join(name, name))
        rules.now += 3_601
    assert [node.name for node in rules.roster.nodes()] == ["stays", "c", "d"]


def test_a_node_that_was_expelled_while_it_was_gone_is_no_longer_awaited(rules: Rules) -> None:
    north = rules.join("north", "a")
    assert not rules.roster.expel(north), "it is here"
    rules.leave(north)
    assert not rules.roster.is_gone(north, 120)
    assert rules.roster.expel(north)
    assert rules.roster.is_gone(north, 120)
    assert not rules.roster.expel(north), "once is enough"


def test_a_full_roster_refuses_new_nodes_and_admits_those_that_reconnect(
    rules: Rules, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(roster, "MAX_PRESENT", 2)
    north = rules.join("north", "a")
    south = rules.join("south", "b")
    assert rules.join("north", "a") is north, "its old stream is replaced"
    rules.leave(south)
    rules.join("west", "c")
    for name, instance in (("east", "d"), ("south", "b")):
        with pytest.raises(RefusedError, match=r"^2 nodes are connected"):
            rules.join(name, instance)
    assert [node.is_present for node in rules.roster.nodes()] == [True, False, True]


def test_nodes_are_awaited_between_leaving_and_being_expelled(rules: Rules) -> None:
    north = rules.join("north", "a")
    assert rules.roster.list_awaited() == []
    rules.leave(north)
    assert rules.roster.list_awaited() == [north]
    rules.roster.expel(north)
    assert rules.roster.list_awaited() == []


def test_members_are_found_by_id(rules: Rules) -> None:
    member = rules.join("host", "a")
    assert rules.roster.find(member.node_id) is member
    assert rules.roster.find(99) is None


# A wait that does not end fails by its timeout.
@pytest.mark.timeout(10)
def test_a_change_before_the_wait_ends_it_at_once(rules: Rules) -> None:
    rules.roster.nodes()
    rules.join("host", "a")
    rules.roster.wait_for_change(60)


def test_a_change_wakes_a_waiting_thread(rules: Rules) -> None:
    member = rules.join("host", "a")
    for change in (
        lambda: rules.roster.ready(member, of("mnist")),
        lambda: rules.leave(member),
        lambda: rules.join("host", "b"),
    ):
        rules.roster.nodes()
        waiter = threading.Thread(target=rules.roster.wait_for_change, args=(60,), daemon=True)
        waiter.start()
        change()
        waiter.join(HANG_S)
        assert not waiter.is_alive()


def test_without_a_change_the_wait_ends_at_its_timeout(rules: Rules) -> None:
    rules.join("host", "a")
    rules.roster.nodes()
    rules.roster.wait_for_change(0.01)
