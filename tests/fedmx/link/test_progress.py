"""While bytes travel, a node's time does not run; a transfer of which no bytes move is lost."""

import io
import math
import time
from collections.abc import Callable

import numpy as np
import pytest
from flwr.app import Message, RecordDict

from fedmx.link import watch
from fedmx.link.connections import Connection, Connections
from fedmx.link.progress import Progress
from fedmx.link.quorum import Cause, Quorum
from fedmx.link.request import Request
from fedmx.link.travel import Where
from tests.bounds import HANG_S
from tests.federation.chaos.cable import Cable
from tests.fedmx.link.loopback import FOREVER_S, Background, Hub, Worker, change
from tests.fedmx.link.raw_node import RawNode
from tests.fedmx.link.test_requests import make_request
from tests.fedmx.protocol.wire import pack

PEER = ("192.0.2.1", 5000)
STALL_S = 1.0


class Line:
    """What the kernel reports of a connection."""

    def __init__(self) -> None:
        self.asked = 0
        self.acknowledged = self.received = self.unsent = 0

    def measure(self) -> Connections:
        self.asked += 1
        return {PEER: Connection(0.0, self.acknowledged, self.received, self.unsent)}


def depart() -> Request:
    request = make_request(2, "a")
    request.depart(1_000_000)
    request.write(1)
    return request


def reply() -> Request:
    request = depart()
    request.travel.go(Where.UP)
    return request


def count_checks(progress: Progress, request: Request, measure: Callable[[], Connections]) -> int:
    """Check every second until the transfer counts as stalled; return the number of checks."""
    return next(count for count in range(1, 1000) if progress.check([request], 1.0, measure))


@pytest.mark.parametrize("begin", [depart, reply], ids=["request", "reply"])
def test_a_transfer_of_which_no_bytes_move_stalls_after_the_limit(begin: Callable[[], Request]) -> None:
    # The first check only counts what moved before.
    assert count_checks(Progress(PEER, 5.0), begin(), Line().measure) == 6


@pytest.mark.parametrize(
    ("begin", "way"), [(depart, "acknowledged"), (reply, "received")], ids=["request", "reply"]
)
def test_bytes_of_the_right_way_are_progress(begin: Callable[[], Request], way: str) -> None:
    line = Line()
    progress = Progress(PEER, 5.0)
    request = begin()
    for _ in range(50):
        setattr(line, way, getattr(line, way) + 1000)
        assert not progress.check([request], 1.0, line.measure)
    for _ in range(4):
        assert not progress.check([request], 1.0, line.measure)
    assert progress.check([request], 1.0, line.measure)


def test_bytes_of_the_other_way_and_signs_of_life_are_no_progress() -> None:
    line = Line()
    progress = Progress(PEER, 5.0)
    request = depart()
    for _ in range(6):
        line.received += 1_000_000
        line.acknowledged += 100
        is_stalled = progress.check([request], 1.0, line.measure)
    assert is_stalled


def test_a_request_that_waits_for_its_turn_to_be_written_does_not_stall() -> None:
    line = Line()
    progress = Progress(PEER, 5.0)
    request = make_request(2, "a")
    request.depart(1000)
    assert not any(progress.check([request], 1.0, line.measure) for _ in range(100))
    request.write(10)
    assert count_checks(progress, request, line.measure) == 6


def test_what_this_end_does_not_read_is_no_stall() -> None:
    line = Line()
    progress = Progress(PEER, 5.0)
    progress.is_held = True
    request = reply()
    assert not any(progress.check([request], 1.0, line.measure) for _ in range(100))
    progress.is_held = False
    assert count_checks(progress, request, line.measure) == 6


def test_a_process_that_was_suspended_first_sees_what_moved_meanwhile() -> None:
    line = Line()
    progress = Progress(PEER, 5.0)
    request = depart()
    progress.check([request], 1.0, line.measure)
    line.acknowledged += 10_000_000
    assert not progress.check([request], 3600.0, line.measure)


def test_the_kernel_is_not_asked_while_a_node_computes() -> None:
    line = Line()
    request = depart()
    request.rest()
    assert not any(Progress(PEER, 5.0).check([request], 1.0, line.measure) for _ in range(100))
    assert line.asked == 0


def test_a_request_is_on_its_way_until_the_kernel_has_sent_all_of_it() -> None:
    line = Line()
    line.unsent = 1
    progress = Progress(PEER, 5.0)
    request = depart()
    progress.check([request], 1.0, line.measure)
    request.is_written = True
    progress.check([request], 1.0, line.measure)
    assert request.travel.is_on
    line.unsent = 0
    progress.check([request], 1.0, line.measure)
    assert not request.travel.is_on


def test_without_the_kernels_counters_frames_are_progress() -> None:
    progress = Progress(PEER, 5.0)
    request = depart()
    for _ in range(50):
        request.write(1000)
        assert not progress.check([request], 1.0, dict)
    assert count_checks(progress, request, dict) == 5


@pytest.fixture
def watchful(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server looks at its connections often, so that a test need not last for seconds."""
    monkeypatch.setattr(watch, "PERIOD_S", 0.1)


@pytest.fixture
def strict_hub(open_hub: Callable[..., Hub], watchful: None) -> Hub:
    return open_hub(stall_timeout_s=STALL_S)


def large(size: int) -> RecordDict:
    return RecordDict({"arrays": pack({"a": np.zeros(size, np.uint8)})})


@pytest.mark.usefixtures("watchful")
def test_a_round_whose_transfer_takes_three_times_its_timeout_completes(
    open_hub: Callable[..., Hub], log: io.StringIO
) -> None:
    # On this line, the kernel's counters move in steps of about a second.
    hub = open_hub(stall_timeout_s=10 * STALL_S)
    timeout_s = 3.0
    cable = hub.lay_cable()
    node = hub.start(address=cable.address, worker=Worker(change))
    cable.bytes_per_s = 150_000
    content = large(round(2 * timeout_s * cable.bytes_per_s))
    began = time.monotonic()
    (answer,) = hub.ask(hub.message(content), timeout=timeout_s)
    assert not answer.has_error()
    assert time.monotonic() - began > 3 * timeout_s
    assert node.worker.asked == ["1"]
    assert "node left" not in log.getvalue()


@pytest.mark.parametrize(("way", "part"), [("down", "request"), ("up", "reply")])
def test_a_transfer_that_stalls_is_given_up_and_its_node_comes_back(
    way: str, part: str, strict_hub: Hub, log: io.StringIO
) -> None:
    cable = strict_hub.lay_cable()
    strict_hub.start(address=cable.address, worker=Worker(change))
    cable.after(way, 10_000_000, lambda: cable.stall(HANG_S))
    replies = strict_hub.ask(strict_hub.message(large(20_000_000)), timeout=FOREVER_S)
    cable.flow()
    assert replies == []
    absence = strict_hub.grid.find_absence(strict_hub.node_id())
    assert absence.cause is Cause.STALLED
    assert f"MB of 20.0 MB of the {part} had" in absence.progress
    cause = f"a transfer made no progress for LINK_STALL_TIMEOUT={STALL_S:g}"
    strict_hub.wait_until(lambda: cause in log.getvalue())
    strict_hub.wait_until(lambda: log.getvalue().count("node ready") == 2)
    assert len(strict_hub.ask(strict_hub.message(number=2))) == 1


def test_a_node_that_does_not_read_its_request_is_given_up(strict_hub: Hub) -> None:
    raw = RawNode(strict_hub.address, reads=False)
    raw.send_hello()
    raw.send(ready={})
    strict_hub.await_ready("raw")
    content = large(50_000_000)
    assert strict_hub.ask(strict_hub.message(content, name="raw"), timeout=FOREVER_S) == []
    assert strict_hub.grid.find_absence(strict_hub.node_id("raw")).cause is Cause.STALLED
    strict_hub.await_gone("raw")
    raw.hang_up()


def test_a_request_behind_one_that_a_node_did_not_read_is_given_up(strict_hub: Hub) -> None:
    """The first one is no longer awaited, and still in the way of the second."""
    raw = RawNode(strict_hub.address, reads=False)
    raw.send_hello()
    raw.send(ready={})
    strict_hub.await_ready("raw")

    def reply_once_it_is_in_the_way(message: Message) -> RecordDict:
        (request,) = strict_hub.server._shared.requests.of_node(strict_hub.node_id("raw"))
        sent = 0
        while not sent or sent != request.bytes_sent:
            sent = request.bytes_sent
            time.sleep(0.2)
        return change(message)

    strict_hub.start(worker=Worker(reply_once_it_is_in_the_way))
    messages = [strict_hub.message(), strict_hub.message(large(50_000_000), "raw")]
    assert len([*strict_hub.grid.send_and_receive(messages, quorum=Quorum(1, 0.0))]) == 1
    assert strict_hub.ask(strict_hub.message(name="raw", number=2), timeout=FOREVER_S) == []
    assert strict_hub.grid.find_absence(strict_hub.node_id("raw")).cause is Cause.STALLED
    raw.hang_up()


def test_a_node_that_computes_for_longer_than_a_transfer_may_stall_is_not_given_up(
    strict_hub: Hub, log: io.StringIO
) -> None:
    def compute(message: Message) -> RecordDict:
        time.sleep(3 * STALL_S)
        return message.content

    strict_hub.start(worker=Worker(compute))
    content = large(2_000_000)
    assert [one.content for one in strict_hub.ask(strict_hub.message(content))] == [content]
    assert "node left" not in log.getvalue()


def test_while_bytes_travel_the_deadline_moves(hub: Hub, cable: Cable) -> None:
    hub.start(address=cable.address)
    cable.after("down", 5_000_000, lambda: cable.stall(HANG_S))
    asked = hub.ask_in_background(hub.message(large(20_000_000)), timeout=HANG_S)
    seen: list[float] = []

    def look() -> bool:
        seen.extend(hub.grid.deadlines.values())
        return len(set(seen)) > 2

    hub.wait_until(look)
    assert seen == sorted(seen)
    cable.flow()
    assert len(asked.get()) == 1
    assert hub.grid.deadlines == {}


def test_a_quorum_goes_on_without_the_others_and_the_next_request_waits_for_their_work(hub: Hub) -> None:
    quick = hub.start("quick")
    slow = hub.start("slow")
    slow.worker.gate.clear()
    names = ("quick", "slow")
    messages = [hub.message(name=name, number=1) for name in names]
    replies = list(hub.grid.send_and_receive(messages, timeout=FOREVER_S, quorum=Quorum(1, 0.2)))
    assert [one.metadata.src_node_id for one in replies] == [hub.node_id("quick")]
    assert hub.grid.find_absence(hub.node_id("slow")).cause is Cause.LEFT_OUT
    assert hub.grid.grace_ends < math.inf
    asked = hub.ask_in_background(*(hub.message(name=name, number=2) for name in names))
    hub.wait_until(lambda: quick.worker.asked == ["1", "2"])
    slow.worker.gate.set()
    assert len(asked.get()) == 2
    assert slow.worker.asked == ["1", "2"]


def test_an_error_does_not_count_for_a_quorum(hub: Hub) -> None:
    def fail(_: Message) -> RecordDict:
        raise ZeroDivisionError

    hub.start("broken", Worker(fail))
    slow = hub.start("slow")
    slow.worker.gate.clear()
    messages = [hub.message(name=name) for name in ("broken", "slow")]
    asked = Background(
        lambda: list(hub.grid.send_and_receive(messages, timeout=FOREVER_S, quorum=Quorum(1, 0.0)))
    )
    hub.wait_until(lambda: hub.grid.count_answered() == 1)
    assert hub.grid.grace_ends == math.inf
    slow.worker.gate.set()
    assert sorted(one.has_error() for one in asked.get()) == [False, True]
