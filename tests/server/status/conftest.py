"""Status servers, without a run or with made-up ones."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page

from fedmx.settings import ServerSettings
from fedmx.values import Address
from server.status.server import StatusServer
from tests.server.status.made_up_server import MadeUpServer

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


@pytest.fixture
def made_up() -> Iterator[MadeUpServer]:
    with MadeUpServer() as server:
        yield server


@pytest.fixture
def open_report(open_page: Callable[..., Page], tmp_path: Path) -> Callable[..., Page]:
    """Return a function that writes a report to a file and opens that."""

    def open_one(text: str, **options: object) -> Page:
        path = tmp_path / "report.html"
        path.write_text(text)
        return open_page(path.as_uri(), **options)

    return open_one
