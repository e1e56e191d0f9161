"""Flower's own engines, seen through the interface of the direct link."""

from server.engine import FlowerEngine, adapt
from tests.fedmx.link.loopback import Hub
from tests.server.nodes import LocalGrid, NullNode


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
    assert roster.nodes() == [newer]


def test_a_flower_engine_shows_nothing_of_an_exchange() -> None:
    engine = adapt(LocalGrid({}))
    assert (engine.list_unanswered(), engine.count_answered(), engine.progress(7)) == (None, None, "")
