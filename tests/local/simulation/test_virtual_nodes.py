"""The nodes of a simulation as a run works on them."""

import pytest

from fedmx.errors import TrainingFailedError
from local.simulation.virtual_nodes import SimulationEngine
from tests.server.local_grid import LocalGrid
from tests.server.nodes import NullNode
from tests.server.test_engine import SlowGrid, ask


def test_virtual_nodes_are_present_and_numbered_in_the_order_of_their_ids() -> None:
    grid = LocalGrid({7: NullNode(), 5: NullNode()})
    roster = SimulationEngine(grid, lambda: None).roster
    grid.nodes.clear()
    assert [(node.name, node.node_id, node.site, node.is_ready) for node in roster.nodes()] == [
        ("local.node-1", 5, "local", True),
        ("local.node-2", 7, "local", True),
    ]


def test_a_wait_for_replies_ends_with_the_failure_of_the_engine() -> None:
    looks: list[int] = []

    def check() -> None:
        if looks:
            raise TrainingFailedError("the engine failed")

    def keep_silent(grid: SlowGrid) -> None:
        looks.append(len(looks))
        grid.silent.add(5)

    engine = SimulationEngine(SlowGrid({5: NullNode()}, keep_silent), check)
    with pytest.raises(TrainingFailedError, match="the engine failed"):
        ask(engine, 5)
    assert looks == [0]
