"""Waiting for nodes of a grid."""

import threading
import time

from fedmx.settings import ServerSettings
from server.nodes import Nodes
from tests.server.nodes import LocalGrid, NullNode


def test_waiting_for_any_node_ends_with_the_timeout() -> None:
    grid = LocalGrid({})
    started = time.monotonic()
    Nodes(grid, ServerSettings()).await_any(1, 0.2)
    assert 0.2 <= time.monotonic() - started < 5


def test_waiting_for_any_node_ends_when_it_comes() -> None:
    grid = LocalGrid({})
    timer = threading.Timer(0.1, grid.nodes.update, [{10: NullNode()}])
    timer.start()
    Nodes(grid, ServerSettings()).await_any(1, 30)
    assert 10 in grid.nodes
    timer.join()
