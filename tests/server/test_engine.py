"""Flower's own engines, seen through the interface of the direct link."""

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor

import pytest
from flwr.app import ConfigRecord, Error, Message, RecordDict

from fedmx.link.flower import SERVER_NODE_ID, Envelope, may_differ, rebuild_reply
from fedmx.link.quorum import Absence, Cause, Quorum
from server.engine import Engine, FlowerEngine, adapt
from tests.bounds import HANG_S
from tests.fedmx.link.loopback import Hub
from tests.server.local_grid import LocalGrid
from tests.server.nodes import NullNode


def test_the_direct_link_needs_no_adapter() -> None:
    hub = Hub()
    assert adapt(hub.grid) is hub.grid
    hub.stop()


def test_a_node_of_a_flower_engine_is_ready_and_named_by_its_id() -> None:
    engine = adapt(LocalGrid({7: NullNode(), 5: NullNode()}))
    assert isinstance(engine, FlowerEngine)
    assert [(node.name, node.node_id, node.is_ready) for node in engine.roster.nodes()] == [
        ("7", 7, True),
        ("5", 5, True),
    ]


def test_a_node_of_a_flower_engine_has_joined_when_it_was_first_listed() -> None:
    grid = LocalGrid({7: NullNode()})
    roster = adapt(grid).roster
    (first,) = roster.nodes()
    grid.nodes[8] = NullNode()
    again, newer = roster.nodes()
    assert again == first
    assert newer.since >= first.since
    del grid.nodes[7]
    gone, stayed = roster.nodes()
    assert stayed == newer
    assert (gone.node_id, gone.is_present, gone.description) == (7, False, None)
    assert gone.since >= newer.since
    grid.nodes[7] = NullNode()
    back, _ = roster.nodes()
    assert back.is_ready
    assert back.since >= gone.since


def test_another_thread_reads_the_nodes_without_asking_the_engine() -> None:
    grid = LocalGrid({7: NullNode()})
    roster = FlowerEngine(grid).roster
    known = roster.nodes()
    grid.nodes[5] = NullNode()
    with ThreadPoolExecutor(1) as other:
        assert other.submit(roster.nodes).result() == known
    assert [view.node_id for view in roster.nodes()] == [7, 5]


class SlowGrid(LocalGrid):
    """A grid that returns one reply at a time, and calls `between` before each look."""

    def __init__(self, nodes: Mapping[int, NullNode], between: Callable[["SlowGrid"], None]) -> None:
        super().__init__(nodes)
        self._between = between
        self.silent: set[int] = set()

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        sent = list(messages)
        super().push_messages(sent)
        return [message.metadata.message_id for message in sent]

    def pull_messages(self, _: Iterable[str]) -> Iterable[Message]:
        self._between(self)
        ready = [each for each in self._replies if each.metadata.src_node_id not in self.silent]
        for reply in ready[:1]:
            self._replies.remove(reply)
        return ready[:1]


def ask(
    engine: Engine, *node_ids: int, timeout: float | None = None, quorum: Quorum | None = None
) -> list[Message]:
    """Ask nodes to describe themselves."""
    config = ConfigRecord({"with-arrays": False, "seed": 0})
    messages = [Message(RecordDict({"config": config}), each, "query", group_id="0") for each in node_ids]
    return list(engine.send_and_receive(messages, timeout=timeout, quorum=quorum))


def test_while_replies_are_awaited_an_engine_knows_whose_are_missing() -> None:
    known: list[tuple[int, list[int]]] = []
    grid = SlowGrid({5: NullNode(), 7: NullNode()}, lambda _: note())
    engine = FlowerEngine(grid)

    def note() -> None:
        known.append((engine.count_answered(), list(engine.deadlines)))

    replies = ask(engine, 5, 7)
    assert [reply.metadata.src_node_id for reply in replies] == [5, 7]
    assert known == [(0, [5, 7]), (1, [7])]
    assert (engine.count_answered(), engine.deadlines) == (2, {})


def test_a_reply_that_arrives_in_the_last_pause_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.engine._SHORTEST_PAUSE_S", HANG_S)
    looks: list[int] = []

    def reply_at_the_second_look(grid: SlowGrid) -> None:
        grid.silent = set() if looks else {7}
        looks.append(len(looks))

    engine = FlowerEngine(SlowGrid({7: NullNode()}, reply_at_the_second_look))
    assert [reply.metadata.src_node_id for reply in ask(engine, 7, timeout=0.1)] == [7]
    assert looks == [0, 1]


def test_a_node_that_is_gone_for_longer_than_the_grace_is_not_awaited(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("server.flower_nodes._LISTED_EVERY_S", 0.0)

    def leave(grid: SlowGrid) -> None:
        grid.silent.add(7)
        grid.nodes.pop(7, None)

    engine = FlowerEngine(SlowGrid({5: NullNode(), 7: NullNode()}, leave), grace_s=0.05)
    assert len(engine.roster.nodes()) == 2
    assert [reply.metadata.src_node_id for reply in ask(engine, 5, 7)] == [5]
    assert engine.find_absence(7) == Absence(Cause.LOST)


def test_a_reply_that_does_not_come_in_time_is_left_out() -> None:
    engine = FlowerEngine(SlowGrid({7: NullNode()}, lambda grid: grid.silent.add(7)))
    assert ask(engine, 7, timeout=0.1) == []
    assert (engine.deadlines, engine.find_absence(7)) == ({}, Absence(Cause.LATE))


def test_an_error_that_the_engine_replies_with_counts_as_the_nodes() -> None:
    def replace(grid: SlowGrid) -> None:
        (reply,) = grid._replies
        about = reply.metadata
        envelope = Envelope(about.run_id, about.message_type, about.group_id, SERVER_NODE_ID)
        lost = Error(5, "Error: Node Unavailable")
        grid._replies = [rebuild_reply(envelope, about.reply_to_message_id, lost)]

    (reply,) = ask(FlowerEngine(SlowGrid({7: NullNode()}, replace)), 7)
    assert (reply.metadata.src_node_id, reply.error.code) == (7, 5)
    assert may_differ(reply.error), "the round is tried again"
