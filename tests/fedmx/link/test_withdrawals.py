"""A request that is no longer awaited costs a slow line nothing more, and neither does the reply to it."""

from collections.abc import Iterator

import numpy as np
import pytest
from flwr.app import Message, RecordDict

from fedmx.link.quorum import Quorum
from fedmx.protocol import link_pb2 as pb
from tests.bounds import HANG_S
from tests.federation.chaos.cable import Cable
from tests.fedmx.link.loopback import FOREVER_S, Hub, Worker, change
from tests.fedmx.link.raw_node import RawNode
from tests.fedmx.protocol.wire import encode, pack

SIZE = 40_000_000
PART = 2_000_000


@pytest.fixture
def raw(hub: Hub) -> Iterator[RawNode]:
    node = RawNode(hub.address)
    node.get_ready()
    yield node
    node.hang_up()


def large() -> RecordDict:
    return RecordDict({"arrays": pack({"a": np.zeros(SIZE, np.uint8)})})


def grow(_: Message) -> RecordDict:
    return large()


def leave_out_slow(hub: Hub, content: RecordDict | None = None) -> None:
    """Ask a quick and a slow node, and go on without the slow one."""
    messages = [hub.message(name="quick"), hub.message(content, name="slow")]
    replies = list(hub.grid.send_and_receive(messages, timeout=FOREVER_S, quorum=Quorum(1, 0.2)))
    assert [one.metadata.src_node_id for one in replies] == [hub.node_id("quick")]


def test_the_rest_of_a_model_that_is_withdrawn_is_not_sent(hub: Hub, cable: Cable) -> None:
    hub.start("quick")
    slow = hub.start("slow", Worker(change), address=cable.address)
    cable.after("down", PART, lambda: cable.stall(HANG_S))
    leave_out_slow(hub, large())
    cable.flow()
    assert len(hub.ask(hub.message(name="slow", number=2))) == 1
    assert slow.worker.asked == ["2"]
    assert PART < cable.carried["down"] < SIZE


def test_the_rest_of_a_reply_that_is_withdrawn_is_not_sent(hub: Hub, cable: Cable) -> None:
    hub.start("quick")
    slow = hub.start("slow", Worker(grow), address=cable.address)
    cable.after("up", PART, lambda: cable.stall(HANG_S))
    leave_out_slow(hub)
    cable.flow()
    slow.worker.gate.clear()
    asked = hub.ask_in_background(hub.message(name="slow", number=2))
    hub.wait_until(lambda: slow.worker.asked == ["1", "2"])
    assert PART < cable.carried["up"] < SIZE
    slow.worker.gate.set()
    assert len(asked.get()) == 1


def test_a_node_holds_what_it_had_before_a_model_that_is_withdrawn(hub: Hub, cable: Cable) -> None:
    had = RecordDict({"arrays": pack({"b": np.ones(PART, np.uint8)})})
    hub.start("quick")
    hub.start("slow", Worker(lambda _: RecordDict()), address=cable.address)
    assert len(hub.ask(hub.message(had, name="slow", number=1))) == 1
    cable.after("down", PART, lambda: cable.stall(HANG_S))
    leave_out_slow(hub, large())
    cable.flow()
    assert len(hub.ask(hub.message(name="slow", number=2))) == 1


def test_a_reply_that_a_node_breaks_off_is_followed_by_others(hub: Hub, raw: RawNode) -> None:
    asked = hub.ask_in_background(hub.message(name="raw", number=1), hub.message(name="raw", number=2))
    first, second = raw.receive_header().request_id, raw.receive_header().request_id
    begin, chunk, *_ = encode(large(), request_id=first).frames()
    raw.send(begin)
    raw.send(chunk)
    raw.send(withdraw=pb.Withdraw(request_id=first))
    for request_id in (first, second):
        for frame in encode(RecordDict(), request_id=request_id).frames():
            raw.send(frame)
    assert len(asked.get()) == 2


def test_a_withdrawal_outside_a_message_is_refused(hub: Hub, raw: RawNode) -> None:
    raw.send(withdraw=pb.Withdraw(request_id="none"))
    assert raw.receive("goodbye").reason == "a withdrawal outside a message"
