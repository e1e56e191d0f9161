"""The nodes of Flower's own engines, which have no names, and are known only by being listed."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from flwr.app import ConfigRecord
from flwr.serverapp import Grid

from fedmx.link.member import NodeView

# Between two looks at the nodes while replies are awaited.
_LISTED_EVERY_S = 3.0


class FlowerNodes:
    """The nodes that a grid of Flower's has listed. One describes itself only when it is asked.

    A node that is no longer listed has left: an engine keeps a node whose connection was lost for a while.
    Only the thread that creates it asks the engine.
    """

    def __init__(self, grid: Grid) -> None:
        self._grid = grid
        self._views: dict[int, NodeView] = {}
        self._is_waiting = False
        self._due = 0.0
        self._owner = threading.get_ident()

    def nodes(self) -> list[NodeView]:
        """List every node that was ever listed, in order of first being listed; any thread may call this."""
        # Others, such as that of the status page, must neither wait for the engine nor fail with it.
        if threading.get_ident() == self._owner and not self._is_waiting:
            self.refresh()
        return list(self._views.values())

    def wait_for_change(self, timeout_s: float) -> None:
        """Wait for `timeout_s`: Flower's grids cannot notify of a change."""
        time.sleep(timeout_s)

    def pin(self, _: ConfigRecord) -> None:
        """Nodes that join later cannot be rejected here; their replies are checked like all others."""

    @contextmanager
    def listed_by_wait(self) -> Iterator[None]:
        """List the nodes in the `with` block only by `refresh_if_due`."""
        self._is_waiting = True
        self._due = time.monotonic() + _LISTED_EVERY_S
        try:
            yield
        finally:
            self._is_waiting = False

    def refresh_if_due(self) -> bool:
        """List the nodes if that was some seconds ago; return whether it was."""
        if time.monotonic() < self._due:
            return False
        self._due = time.monotonic() + _LISTED_EVERY_S
        self.refresh()
        return True

    def refresh(self) -> None:
        """List the nodes."""
        now = time.monotonic()
        listed = set()
        views = dict(self._views)
        for node_id in self._grid.get_node_ids():
            listed.add(node_id)
            before = views.get(node_id)
            if before is None or not before.is_present:
                views[node_id] = NodeView(str(node_id), node_id, True, ConfigRecord(), now)
        for node_id, view in views.items():
            if view.is_present and node_id not in listed:
                views[node_id] = replace(view, is_present=False, description=None, since=now)
        self._views = views
