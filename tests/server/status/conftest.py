"""A status server without a run."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fedmx.settings import ServerSettings
from fedmx.values import Address
from server.status.server import StatusServer

ANY_PORT = Address("127.0.0.1", 0)
Serve = Callable[..., StatusServer]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Start status servers, which end with the test."""
    started: list[StatusServer] = []

    def serve(**settings: Any) -> StatusServer:
        given = {"runs_dir": tmp_path / "runs", "status_address": ANY_PORT, **settings}
        started.append(StatusServer(ServerSettings(**given), given["status_address"]))
        return started[-1]

    yield serve
    for server in started:
        server.close(is_stopped=True)
