"""What the workers of a simulation are asked before the run begins."""

import pytest
from flwr.app import ConfigRecord

from fedmx.settings import ServerSettings, load
from local.simulation.probe import check_nodes
from server.engine import adapt
from tests.server.local_grid import LocalGrid
from tests.server.nodes import NullNode


@pytest.mark.parametrize(
    ("partitions", "asked"),
    [("5", [(0, 5), (1, 5), (2, 5)]), ("2", [(0, 2), (1, 2), (1, 2)]), ("0", [(0, 5), (1, 5), (2, 5)])],
)
def test_each_worker_is_asked_for_a_partition_of_the_run(
    partitions: str, asked: list[tuple[int, int]]
) -> None:
    grid = LocalGrid({node_id: NullNode() for node_id in range(10, 15)})
    check_nodes(adapt(grid), load(ServerSettings, environ={"NUM_PARTITIONS": partitions}), workers=3)
    [messages] = grid.sent
    configs: list[ConfigRecord] = [message.content["config"] for message in messages]  # type: ignore[misc]
    assert [(config["partition"], config["num-partitions"]) for config in configs] == asked
