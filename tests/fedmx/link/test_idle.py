"""Streams through what cuts idle connections, as load balancers and address translation do after a minute.

A balancer counts each way by itself, and so does the cable here, which cuts forty times as soon.
"""

import io
import time
from collections.abc import Callable

import pytest
from flwr.app import Message, RecordDict

from fedmx.link import channel, silence, watch
from tests.bounds import HANG_S
from tests.federation.chaos.cable import Cable
from tests.fedmx.link.loopback import Hub, Worker

IDLE_S = 60.0 / 40
# So long that only signs of life can be what keeps a stream.
_NO_PINGS = ("grpc.keepalive_time_ms", 3_600_000)


@pytest.fixture
def signs(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Signs of life come as much sooner as connections are cut, and gRPC sends no pings."""
    period_s = getattr(request, "param", silence.SIGN_AFTER_S / 40)
    monkeypatch.setattr(silence, "SIGN_AFTER_S", period_s)
    # The server looks every so often whether a sign is due.
    monkeypatch.setattr(watch, "PERIOD_S", watch.PERIOD_S / 40)
    monkeypatch.setattr(channel, "KEEPALIVE", (_NO_PINGS, *channel.KEEPALIVE[1:]))


@pytest.fixture
def cutting(signs: None, open_hub: Callable[..., Hub]) -> tuple[Hub, Cable]:
    hub = open_hub()
    cable = hub.lay_cable()
    cable.idle_s = IDLE_S
    return hub, cable


def test_a_node_that_trains_for_longer_than_connections_may_idle_keeps_its_stream(
    cutting: tuple[Hub, Cable], log: io.StringIO
) -> None:
    def train(_: Message) -> RecordDict:
        time.sleep(3 * IDLE_S)
        return RecordDict()

    hub, cable = cutting
    node = hub.start(address=cable.address, worker=Worker(train))
    assert len(hub.ask()) == 1
    assert (cable.idle_cuts, node.worker.asked) == (0, ["1"])
    assert log.getvalue().count("node joined") == 1


def test_a_node_that_waits_between_rounds_keeps_its_stream(
    cutting: tuple[Hub, Cable], log: io.StringIO
) -> None:
    hub, cable = cutting
    hub.start(address=cable.address)
    time.sleep(3 * IDLE_S)
    assert len(hub.ask()) == 1
    assert cable.idle_cuts == 0
    assert log.getvalue().count("node joined") == 1


@pytest.mark.parametrize("signs", [HANG_S], indirect=True)
def test_without_signs_of_life_the_stream_is_cut(cutting: tuple[Hub, Cable], log: io.StringIO) -> None:
    hub, cable = cutting
    hub.start(address=cable.address)
    hub.wait_until(lambda: cable.idle_cuts > 0)
    cable.idle_s = 0.0
    hub.wait_until(lambda: log.getvalue().count("node ready") >= 2)
    # For the goodbye.
    hub.await_ready("node")
