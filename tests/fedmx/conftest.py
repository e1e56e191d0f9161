"""Servers, cables and logs that end with their test; a quiet Flower, and no clock for generated examples."""

import io
import logging
from collections.abc import Callable, Iterator
from typing import Any

import hypothesis
import pytest

from fedmx.log import configure, logger
from tests.federation.chaos.cable import Cable
from tests.fedmx.link.loopback import Hub

# Examples are not timed: another program on the machine must not fail a test.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")


@pytest.fixture(autouse=True)
def _quiet_flower() -> None:
    logging.getLogger("flwr").setLevel(logging.ERROR)


@pytest.fixture(autouse=True)
def _restored_log() -> Iterator[None]:
    """Undo what a test configures."""
    before = (list(logger.handlers), logger.level, logger.propagate)
    yield
    logger.handlers[:], logger.level, logger.propagate = before


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
