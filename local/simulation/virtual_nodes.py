"""The virtual nodes of Flower's simulation engine as a run works on them."""

import time
from collections.abc import Callable, Iterator

from flwr.app import ConfigRecord, Message
from flwr.serverapp import Grid

from fedmx.array_store import ArrayStore
from fedmx.link.member import NodeView
from fedmx.pki.authority import LOCAL_SITE
from server.engine import FlowerEngine
from server.flower_nodes import FlowerNodes


class SimulationEngine(FlowerEngine):
    """Flower's simulation engine, whose waits end if it fails.

    Args:
        grid: the engine's.
        check: raises an exception if the engine has failed.
        store: receives the arrays of replies; by default, all stay in memory.
    """

    # A look costs little: the engine is in this process.
    longest_pause_s = 0.05

    def __init__(self, grid: Grid, check: Callable[[], None], store: ArrayStore | None = None) -> None:
        super().__init__(grid, store=store, roster=VirtualNodes(grid))
        self._check = check

    def pull(self) -> Iterator[Message]:
        """Pull the replies that have arrived."""
        self._check()
        return super().pull()


class VirtualNodes(FlowerNodes):
    """The virtual nodes, which are all present from the first to the last moment."""

    def __init__(self, grid: Grid) -> None:
        super().__init__(grid)
        since = time.monotonic()
        self._views = {
            node_id: NodeView(
                # The names of `make run`, where all clients are of one site.
                f"{LOCAL_SITE}.node-{number}",
                node_id,
                is_present=True,
                description=ConfigRecord(),
                since=since,
                site=LOCAL_SITE,
            )
            for number, node_id in enumerate(sorted(grid.get_node_ids()), start=1)
        }

    def refresh(self) -> None:
        """No node joins or leaves."""
