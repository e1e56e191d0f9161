"""Servers, cables and logs that end with their test."""

import io
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from fedmx.log import configure
from tests.federation.chaos.cable import Cable
from tests.fedmx.link.loopback import Hub


@pytest.fixture
def open_hub() -> Iterator[Callable[..., Hub]]:
    """Opens servers; at the end they say goodbye, and their nodes have ended."""
    hubs: list[Hub] = []

    def open_one(**options: Any) -> Hub:
        hubs.append(Hub(**options))
        return hubs[-1]

    yield open_one
    for hub in hubs:
        hub.stop()
    for hub in hubs:
        for node in hub.nodes:
            node.worker.gate.set()
            node.join()
        for cable in hub.cables:
            cable.close()


@pytest.fixture
def hub(open_hub: Callable[..., Hub]) -> Hub:
    return open_hub()


@pytest.fixture
def cable(hub: Hub) -> Cable:
    """A way to the server that can be cut."""
    return hub.lay_cable()


@pytest.fixture(autouse=True)
def _no_bug_is_logged(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Neither gRPC nor asyncio has to report what was left lying about."""
    yield
    reports = [r for phase in ("setup", "call", "teardown") for r in caplog.get_records(phase)]
    assert [r.getMessage() for r in reports if r.name.partition(".")[0] in ("asyncio", "grpc")] == []


@pytest.fixture
def log() -> io.StringIO:
    """What both ends log."""
    stream = io.StringIO()
    configure("INFO", "text", stream)
    return stream
