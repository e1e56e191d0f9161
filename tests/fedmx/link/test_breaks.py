"""Broken streams, repeated requests and late answers."""

import gc
import io
import re
import weakref
from collections.abc import Callable

import numpy as np
import pytest
from flwr.app import Message, RecordDict

from fedmx.array_store import ArrayStore
from fedmx.link import session
from fedmx.link.quorum import Cause
from fedmx.protocol import link_pb2 as pb
from tests.federation.chaos.cable import Cable
from tests.fedmx.link.loopback import FOREVER_S, PATIENCE_S, Hub, Worker, change
from tests.fedmx.link.raw_node import RawNode
from tests.fedmx.protocol.wire import encode, pack

# Bytes: more than the sockets' buffers hold.
MODEL = 20_000_000


def count_of(pattern: str, log: io.StringIO) -> int:
    return len(re.findall(pattern, log.getvalue()))


def await_line(hub: Hub, log: io.StringIO, pattern: str, number: int = 1) -> None:
    hub.wait_until(lambda: count_of(pattern, log) >= number)


def large(number: int = 1) -> RecordDict:
    return RecordDict({"arrays": pack({"a": np.full(MODEL, number, np.uint8)})})


def test_a_node_whose_stream_breaks_while_it_works_reconnects_and_works_once(
    hub: Hub, cable: Cable, log: io.StringIO
) -> None:
    node = hub.start(address=cable.address)
    node.worker.gate.clear()
    asked = hub.ask_in_background(hub.message())
    assert node.worker.begun.wait(PATIENCE_S)
    cable.cut()
    await_line(hub, log, "node ready", 2)
    node.worker.gate.set()
    assert len(asked.get()) == 1
    assert node.worker.asked == ["1"]
    assert count_of("lost the server, dialling again", log) == 1
    assert len(hub.roster.nodes()) == 1


def test_a_reply_that_is_finished_while_the_stream_is_down_is_delivered(
    hub: Hub, cable: Cable, log: io.StringIO
) -> None:
    node = hub.start(address=cable.address)
    node.worker.gate.clear()
    asked = hub.ask_in_background(hub.message())
    assert node.worker.begun.wait(PATIENCE_S)
    cable.is_open = False
    cable.cut()
    await_line(hub, log, "lost the server")
    node.worker.gate.set()
    hub.wait_until(lambda: node.has_cached_reply)
    cable.is_open = True
    assert len(asked.get()) == 1
    assert node.worker.asked == ["1"]


def test_a_reply_that_was_lost_in_transit_is_sent_again_without_working_again(
    hub: Hub, cable: Cable, log: io.StringIO
) -> None:
    node = hub.start(address=cable.address)
    cable.loses_up = True
    asked = hub.ask_in_background(hub.message())
    hub.wait_until(lambda: node.has_cached_reply)
    cable.loses_up = False
    cable.cut()
    (reply,) = asked.get()
    assert reply.content == hub.message().content
    assert node.worker.asked == ["1"]


def test_a_request_whose_error_was_lost_in_transit_is_tried_again(hub: Hub, cable: Cable) -> None:
    def work(_: Message) -> RecordDict:
        raise OSError("disk full")

    node = hub.start(worker=Worker(work), address=cable.address)
    cable.loses_up = True
    asked = hub.ask_in_background(hub.message())
    hub.wait_until(lambda: cable.lost_bytes > 0)
    cable.loses_up = False
    cable.cut()
    (reply,) = asked.get()
    assert reply.error.reason == "OSError: disk full"
    assert node.worker.asked == ["1", "1"]


@pytest.mark.parametrize("way", ["down", "up"])
def test_a_message_that_was_cut_off_halfway_is_sent_again(
    way: str, hub: Hub, cable: Cable, log: io.StringIO
) -> None:
    node = hub.start(address=cable.address, worker=Worker(change))
    cable.after(way, MODEL // 2, cable.cut)
    (reply,) = hub.ask(hub.message(large()))
    assert reply.content == large(2)
    assert node.worker.asked == ["1"]
    assert count_of("node left", log) == 1


def test_a_broken_stream_is_released_at_once(hub: Hub, cable: Cable) -> None:
    """Without Python's collector of cycles, since the frames of a reply may wait in it."""
    node = hub.start(address=cable.address)
    broken = weakref.ref(node.stream)
    gc.disable()
    try:
        hub.await_return("node", cable.cut)
        hub.wait_until(lambda: broken() is None)
    finally:
        gc.enable()


def test_a_request_that_is_repeated_after_its_reply_is_answered_from_the_cache(hub: Hub) -> None:
    node = hub.start()
    first, second = (hub.ask(hub.message(number=1)) for _ in range(2))
    assert first[0].content == second[0].content
    assert node.worker.asked == ["1"]
    hub.ask(hub.message(number=2))
    assert node.worker.asked == ["1", "2"]


def test_an_error_is_not_cached(hub: Hub) -> None:
    def work(_: Message) -> RecordDict:
        if len(node.worker.asked) == 1:
            raise OSError("disk full")
        return RecordDict()

    node = hub.start(worker=Worker(work))
    assert hub.ask()[0].has_error()
    assert not hub.ask()[0].has_error()
    assert node.worker.asked == ["1", "1"]


def test_a_node_that_stays_away_longer_than_the_grace_is_given_up(open_hub: Callable[..., Hub]) -> None:
    hub = open_hub(lease_grace_s=0.1)
    raw = RawNode(hub.address)
    raw.get_ready()
    asked = hub.ask_in_background(hub.message(name="raw"), timeout=FOREVER_S)
    raw.receive_header()
    raw.hang_up()
    assert asked.get() == []
    assert hub.ask_in_background(hub.message(name="raw", number=2), timeout=FOREVER_S).get() == []


def test_a_node_that_reconnects_within_the_grace_is_awaited(hub: Hub, log: io.StringIO) -> None:
    raw = RawNode(hub.address)
    raw.get_ready("north")
    raw.hang_up()
    await_line(hub, log, "node left")
    asked = hub.ask_in_background(hub.message(name="north"))
    node = hub.start("north")
    assert len(asked.get()) == 1
    assert node.worker.asked == ["1"]


def test_a_node_that_leaves_before_it_is_ready_is_logged_as_a_warning(hub: Hub, log: io.StringIO) -> None:
    early = RawNode(hub.address)
    ready = RawNode(hub.address)
    ready.get_ready("ready")
    early.send_hello("early")
    early.receive("welcome")
    await_line(hub, log, "node ready node=ready")
    early.hang_up()
    ready.hang_up()
    await_line(hub, log, "node left", 2)
    assert count_of("WARNING node left early node=early", log) == 1
    assert count_of("INFO    node left node=ready", log) == 1


def test_a_new_process_takes_over_the_name_and_the_request_of_a_dead_one(hub: Hub, log: io.StringIO) -> None:
    dead = RawNode(hub.address)
    dead.get_ready("north")
    asked = hub.ask_in_background(hub.message(name="north"))
    request = dead.receive_header()
    dead.hang_up()
    await_line(hub, log, "node left")
    heir = RawNode(hub.address)
    heir.get_ready("north")
    assert heir.receive_header() == request
    for frame in encode(RecordDict(), request_id=request.request_id).frames():
        heir.send(frame)
    assert len(asked.get()) == 1


def test_the_same_instance_on_a_new_stream_replaces_the_old_one(hub: Hub, log: io.StringIO) -> None:
    old = RawNode(hub.address)
    new = RawNode(hub.address)
    old.get_ready("north", instance="same")
    asked = hub.ask_in_background(hub.message(name="north"))
    request = old.receive_header()
    new.get_ready("north", instance="same")
    old.expect_end()
    assert new.receive_header() == request
    for frame in encode(RecordDict(), request_id=request.request_id).frames():
        new.send(frame)
    assert len(asked.get()) == 1
    assert count_of("node left", log) == 0


def test_a_node_that_reconnected_is_asked_once_when_it_is_ready_again(hub: Hub) -> None:
    old = RawNode(hub.address)
    new = RawNode(hub.address)
    old.get_ready("north", instance="same")
    new.send_hello("north", instance="same")
    new.receive("welcome")
    hub.ask_in_background(hub.message(name="north"), timeout=0.3)
    new.send(ready=pb.Ready())
    header = new.receive_header()
    assert (
        new.receive("withdraw").request_id == header.request_id
    )  # the next frame: no second request came between


def test_the_progress_of_a_node_that_still_works_is_empty(hub: Hub) -> None:
    node = hub.start()
    node.worker.gate.clear()
    assert hub.ask(timeout=0.5) == []
    absence = hub.grid.find_absence(hub.node_id())
    assert (absence.cause, absence.progress) == (Cause.LATE, "")
    node.worker.gate.set()


def test_a_reply_that_is_not_awaited_is_not_stored(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, log: io.StringIO
) -> None:
    stored: list[object] = []
    unasked = encode(large(), request_id="unasked")
    raw = RawNode(hub.address)
    raw.get_ready()
    monkeypatch.setattr(ArrayStore, "open", stored.append)
    for frame in unasked.frames():
        raw.send(frame)
    await_line(hub, log, "dropped a reply")
    assert stored == []


def test_a_slow_node_skips_requests_that_are_no_longer_awaited(hub: Hub) -> None:
    node = hub.start()
    node.worker.gate.clear()
    for number in (1, 2, 3):
        assert hub.ask(hub.message(number=number), timeout=0.5) == []
    asked = hub.ask_in_background(hub.message(number=4))
    hub.wait_until(lambda: node.waiting == ["4"])
    node.worker.gate.set()
    assert len(asked.get()) == 1
    assert node.worker.asked == ["1", "4"]


def test_a_request_that_is_repeated_while_it_is_worked_on_is_worked_on_once(hub: Hub) -> None:
    node = hub.start()
    node.worker.gate.clear()
    assert hub.ask(timeout=0.5) == []
    asked = hub.ask_in_background(hub.message())
    hub.wait_until(lambda: bool(hub.server._shared.requests.of_node(hub.node_id())))
    node.worker.gate.set()
    assert len(asked.get()) == 1
    assert node.worker.asked == ["1"]


def test_a_server_stops_in_time_although_a_node_reads_nothing(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "GOODBYE_TIMEOUT_S", 0.1)
    raw = RawNode(hub.address, reads=False)
    raw.send_hello("deaf")
    raw.send(ready=pb.Ready())
    hub.await_ready("deaf")
    hub.grid.push_messages([hub.message(large(), "deaf")])
    ((_, request),) = hub.grid._open.values()
    hub.wait_until(lambda: request.bytes_sent > 0)
    hub.stop()
    assert not hub.server._thread.is_alive()
