"""Streams that are idle for minutes, streams that are slow, and streams whose other end is gone."""

import io
import time
from collections.abc import Callable
from typing import Any

import grpc
import numpy as np
import pytest
from flwr.app import Message, RecordDict

from fedmx.link import channel, connections, silence, watch
from fedmx.link.connections import Connections
from fedmx.protocol import link_pb2 as pb
from tests.bounds import HANG_S
from tests.federation.chaos.cable import Cable
from tests.fedmx.link.loopback import Hub, Worker, change
from tests.fedmx.link.raw_node import RawNode
from tests.fedmx.protocol.wire import pack

EXPECTED = {
    "grpc.keepalive_time_ms": 10_000,
    "grpc.keepalive_timeout_ms": 2**31 - 1,
    "grpc.keepalive_permit_without_calls": 1,
    "grpc.http2.max_pings_without_data": 0,
    "grpc.http2.max_ping_strikes": 0,
    "grpc.http2.min_ping_interval_without_data_ms": 1_000,
    "grpc.max_receive_message_length": 1024 * 1024,
    "grpc.max_send_message_length": 1024 * 1024,
}
MINUTE_S = 60


def spy(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str) -> list[dict[str, object]]:
    """Record the options with which a function of gRPC is called, and call it."""
    make = getattr(owner, name)
    noted = []

    def make_and_note(*args: Any, **kwargs: Any) -> Any:
        noted.append(dict(kwargs.get("options") or args[-1]))
        return make(*args, **kwargs)

    monkeypatch.setattr(owner, name, make_and_note)
    return noted


def test_both_ends_ping_and_tolerate_pings(
    open_hub: Callable[..., Hub], monkeypatch: pytest.MonkeyPatch
) -> None:
    of_server = spy(monkeypatch, grpc.aio, "server")
    of_node = spy(monkeypatch, grpc.aio, "insecure_channel")
    open_hub().start()
    assert [EXPECTED | options for options in of_server] == of_server
    assert of_node == [EXPECTED | {"grpc.enable_http_proxy": 0, "grpc.use_local_subchannel_pool": 1}]


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> float:
    """Silence is noticed ten times as fast; returns after how many seconds."""
    monkeypatch.setattr(silence, "SIGN_AFTER_S", silence.SIGN_AFTER_S / 10)
    monkeypatch.setattr(silence, "LIMIT_S", silence.LIMIT_S / 10)
    monkeypatch.setattr(silence, "_CHECK_PERIOD_S", silence._CHECK_PERIOD_S / 10)
    monkeypatch.setattr(watch, "PERIOD_S", watch.PERIOD_S / 10)
    return silence.LIMIT_S


def broken(log: io.StringIO) -> list[str]:
    return [name for name in ("lost the server", "node left", "refused a node") if name in log.getvalue()]


def test_no_stream_is_cut_while_bytes_flow_although_a_frame_takes_longer_than_the_limit(
    hub: Hub, cable: Cable, log: io.StringIO, hasty: float
) -> None:
    node = hub.start(address=cable.address)
    cable.bytes_per_s = round(1024 * 1024 / (2 * hasty))
    content = RecordDict({"arrays": pack({"a": np.zeros(1_500_000, np.uint8)})})
    (reply,) = hub.ask(hub.message(content), timeout=HANG_S)
    assert reply.content == content
    assert node.worker.asked == ["1"]
    assert broken(log) == []


@pytest.fixture(params=["server", "node"])
def noticing(request: pytest.FixtureRequest, hasty: float, monkeypatch: pytest.MonkeyPatch) -> str:
    """The end that notices on its own, and its log line; the other end never checks."""
    if request.param == "server":
        monkeypatch.setattr(silence, "_CHECK_PERIOD_S", 1000.0)
        return f'node left node=node cause="nothing arrived for {hasty:g} s"'
    monkeypatch.setattr(watch, "PERIOD_S", 1000.0)
    return f'cause="nothing arrived for {hasty:g} s"'


@pytest.mark.parametrize("way", ["", "down", "up"])
def test_each_end_notices_a_line_that_died_even_in_the_middle_of_a_message(
    way: str, hub: Hub, cable: Cable, log: io.StringIO, noticing: str
) -> None:
    hub.start(address=cable.address, worker=Worker(change))

    def break_down() -> None:
        cable.loses_up = cable.loses_down = True
        cable.is_open = False

    asked = None
    if way:
        cable.after(way, 5_000_000, break_down)
        content = RecordDict({"arrays": pack({"a": np.zeros(20_000_000, np.uint8)})})
        asked = hub.ask_in_background(hub.message(content), timeout=HANG_S)
    else:
        break_down()
    hub.wait_until(lambda: noticing in log.getvalue())
    # For the end that does not check.
    cable.cut()
    cable.loses_up = cable.loses_down = False
    cable.is_open = True
    hub.wait_until(lambda: log.getvalue().count("node ready") == 2)
    assert len(asked.get() if asked else hub.ask()) == 1


def test_a_node_whose_grpc_answers_pings_is_present_even_without_signs_of_life(
    log: io.StringIO, hasty: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    often = [("grpc.keepalive_time_ms", 500), *channel.KEEPALIVE[1:]]
    monkeypatch.setattr(channel, "KEEPALIVE", tuple(often))
    measured: list[int] = []
    measure = connections.measure

    def note() -> Connections:
        measured.append(1)
        return measure()

    monkeypatch.setattr(connections, "measure", note)
    busy = Hub()
    raw = RawNode(busy.address)
    raw.get_ready()
    busy.wait_until(lambda: len(measured) >= 2)
    assert busy.roster.nodes()[0].is_present
    assert broken(log) == []
    raw.hang_up()
    busy.stop()


def test_a_node_that_floods_the_server_with_signs_of_life_is_refused(hub: Hub) -> None:
    raw = RawNode(hub.address)
    raw.get_ready()
    for _ in range(1000):
        raw.send(alive=pb.Alive())
    goodbye = raw.receive("goodbye")
    assert goodbye.outcome == pb.Goodbye.REFUSED
    assert "expected one in 10 s" in goodbye.reason
    raw.expect_end()


@pytest.mark.slow
def test_a_training_step_of_six_minutes_keeps_its_stream(hub: Hub, log: io.StringIO) -> None:
    def train(_: Message) -> RecordDict:
        time.sleep(6 * MINUTE_S)
        return RecordDict()

    node = hub.start(worker=Worker(train))
    assert len(hub.ask(timeout=6 * MINUTE_S + HANG_S)) == 1
    assert node.worker.asked == ["1"]
    assert broken(log) == []


@pytest.mark.slow
def test_a_stream_lasts_on_a_line_of_a_quarter_of_a_megabit(hub: Hub, cable: Cable, log: io.StringIO) -> None:
    node = hub.start(address=cable.address)
    cable.bytes_per_s = 31_250
    content = RecordDict({"arrays": pack({"a": np.zeros(2_000_000, np.uint8)})})
    (reply,) = hub.ask(hub.message(content), timeout=2 * HANG_S)
    assert reply.content == content
    assert node.worker.asked == ["1"]
    assert broken(log) == []


@pytest.mark.slow
def test_a_silent_peer_is_gone_for_both_sides_within_a_minute(
    hub: Hub, cable: Cable, log: io.StringIO
) -> None:
    hub.start(address=cable.address)
    cable.loses_up = cable.loses_down = True
    cable.is_open = False
    while not ("node left" in log.getvalue() and "lost the server" in log.getvalue()):
        hub.roster.wait_for_change(1)
    cable.is_open = True
    cable.loses_up = cable.loses_down = False
    hub.await_ready("node")
    assert len(hub.ask()) == 1
