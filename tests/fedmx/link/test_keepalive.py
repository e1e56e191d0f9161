"""Streams on which nothing is said for minutes."""

import io
import time
from collections.abc import Callable
from typing import Any

import grpc
import pytest
from flwr.app import Message, RecordDict

from tests.federation.chaos.cable import Cable
from tests.fedmx.link.loopback import Hub, Worker

EXPECTED = {
    "grpc.keepalive_time_ms": 10_000,
    "grpc.keepalive_timeout_ms": 20_000,
    "grpc.http2.ping_timeout_ms": 20_000,
    "grpc.keepalive_permit_without_calls": 1,
    "grpc.http2.max_pings_without_data": 0,
    "grpc.http2.max_ping_strikes": 0,
    "grpc.http2.min_ping_interval_without_data_ms": 1_000,
    "grpc.max_receive_message_length": 1024 * 1024,
    "grpc.max_send_message_length": 1024 * 1024,
}
MINUTE_S = 60


def spy(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str) -> list[dict[str, object]]:
    """Note the options with which something of gRPC's is made; it is made all the same."""
    make, noted = getattr(owner, name), []

    def make_and_note(*args: Any, **kwargs: Any) -> Any:
        noted.append(dict(kwargs.get("options") or args[-1]))
        return make(*args, **kwargs)

    monkeypatch.setattr(owner, name, make_and_note)
    return noted


def test_both_ends_ping_and_bear_being_pinged(
    open_hub: Callable[..., Hub], monkeypatch: pytest.MonkeyPatch
) -> None:
    of_server = spy(monkeypatch, grpc.aio, "server")
    of_node = spy(monkeypatch, grpc, "insecure_channel")
    open_hub().start()
    assert [EXPECTED | options for options in of_server] == of_server
    assert of_node == [EXPECTED | {"grpc.enable_http_proxy": 0, "grpc.use_local_subchannel_pool": 1}]


@pytest.mark.slow
@pytest.mark.timeout(8 * MINUTE_S)
def test_a_training_step_of_six_minutes_keeps_its_stream(hub: Hub, log: io.StringIO) -> None:
    def train(_: Message) -> RecordDict:
        time.sleep(6 * MINUTE_S)
        return RecordDict()

    node = hub.start(worker=Worker(train))
    assert len(hub.ask(timeout=7 * MINUTE_S)) == 1
    assert node.worker.asked == ["1"]
    assert [word for word in ("lost", "left", "refused") if word in log.getvalue()] == []


@pytest.mark.slow
@pytest.mark.timeout(2 * MINUTE_S)
def test_a_peer_that_says_nothing_is_gone_for_both_sides_after_30_seconds(
    hub: Hub, cable: Cable, log: io.StringIO
) -> None:
    hub.start(address=cable.address)
    cable.loses_up = cable.loses_down = True
    cable.is_open = False
    began = time.monotonic()
    while not ("node left" in log.getvalue() and "lost the server" in log.getvalue()):
        assert time.monotonic() - began < 35
        hub.roster.wait_for_change(1)
    cable.is_open = True
    cable.loses_up = cable.loses_down = False
    hub.await_ready("node")
    assert len(hub.ask()) == 1
