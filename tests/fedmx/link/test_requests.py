"""Bookkeeping of the server: requests whose answers are awaited."""

import weakref
from dataclasses import dataclass, field

import numpy as np
import pytest
from flwr.app import Error, RecordDict

from fedmx import arrays
from fedmx.errors import DataError
from fedmx.link.request import Answer, Request, Transfer
from fedmx.link.requests import Requests
from fedmx.link.travel import Where
from fedmx.protocol.encode import EncodedMessage, parse_frame
from tests.fedmx.protocol.wire import encode, pack


@dataclass
class Book:
    """Requests with a clock of their own."""

    now: float = 50.0
    requests: Requests = field(init=False)

    def __post_init__(self) -> None:
        self.requests = Requests(clock=lambda: self.now)

    def ask(self, node_id: int, request_id: str) -> Request:
        request = make_request(node_id, request_id)
        self.requests.add(request)
        return request


@pytest.fixture
def book() -> Book:
    return Book()


def make_request(node_id: int, request_id: str) -> Request:
    return Request(node_id, make_message(request_id))


def make_message(request_id: str) -> EncodedMessage:
    return encode(RecordDict({"arrays": pack({"a": np.ones(3), "b": np.zeros(2)})}), request_id=request_id)


def test_equal_requests_are_sent_once_and_answered_together(book: Book) -> None:
    first = make_request(2, "a")
    second = make_request(2, "a")
    assert [book.requests.add(first), book.requests.add(second)] == [True, False]
    assert book.requests.settle(2, "a", RecordDict(), 9)
    assert first.done.result() == second.done.result()


def test_one_request_to_two_nodes_is_two_requests(book: Book) -> None:
    assert [book.requests.add(make_request(node, "a")) for node in (2, 3)] == [True, True]
    assert [request.node_id for request in book.requests.of_node(3)] == [3]


def test_an_answer_carries_its_transfer(book: Book) -> None:
    request = book.ask(2, "a")
    sent = sum(map(len, book.requests.frames(2, "a")))
    book.now = 52.5
    content = Error(1, "no")
    book.requests.settle(2, "a", content, 9)
    assert sent > request.message.arrays.size
    assert request.done.result() == Answer(content, Transfer(bytes_down=sent, bytes_up=9, seconds=2.5))


def test_requests_to_a_node_are_sent_in_order(book: Book) -> None:
    for request_id in "cab":
        book.ask(2, request_id)
    assert [request.request_id for request in book.requests.of_node(2)] == ["c", "a", "b"]
    assert list(book.requests.frames(2, "a")) == list(make_message("a").frames())
    assert list(book.requests.frames(2, "a", {0})) == list(make_message("a").frames({0}))


@pytest.mark.parametrize("waits", [False, True])
def test_a_request_tells_whether_its_reply_waits(book: Book, waits: bool) -> None:
    book.requests.add(Request(2, make_message("a"), waits))
    assert parse_frame(next(book.requests.frames(2, "a"))).begin.reply_waits == waits


def test_the_travels_of_equal_requests_end_together(book: Book) -> None:
    first, second = book.ask(2, "a"), book.ask(2, "a")
    book.requests.note_arrival(2, "a", 1, 10)
    assert second.travel.is_on
    first.rest()
    assert not second.travel.is_on


def test_frames_that_are_sent_twice_are_counted_twice(book: Book) -> None:
    request = book.ask(2, "a")
    sent = [len(frame) for _ in range(2) for frame in book.requests.frames(2, "a")]
    assert request.bytes_down == sum(sent)


def test_a_request_that_is_withdrawn_before_its_turn_is_not_sent(book: Book) -> None:
    request = book.ask(2, "a")
    frames = book.requests.frames(2, "a")
    assert book.requests.withdraw(request)
    assert list(frames) == []


def test_a_reply_that_has_begun_travels_although_its_request_was_just_written(book: Book) -> None:
    request = book.ask(2, "a")
    frames = book.requests.frames(2, "a")
    assert len([next(frames), next(frames)]) == 2
    book.requests.note_arrival(2, "a", 0, 9)
    assert list(frames) == []
    assert request.travel.where is Where.UP


def test_of_replies_that_broke_the_arrays_of_the_newest_are_kept(book: Book) -> None:
    """A node that breaks its stream over and over must not fill the memory or the disk."""
    request = book.ask(2, "a")
    arrived = [[arrays.pack(np.array([first, second])) for second in (1.0, 2.0)] for first in (3.0, 4.0)]
    digests = [[arrays.digest(array) for array in reply] for reply in arrived]
    for reply in arrived:
        book.requests.keep_arrived(2, "a", reply)
        assert [book.requests.find_array(2, "a", digest) for digest in map(arrays.digest, reply)] == reply
    assert [book.requests.find_array(2, "a", digest) for digest in digests[0]] == [None, None]
    first = weakref.ref(arrived[0][0])
    del arrived, reply
    assert first() is None
    (sent, _) = request.message.arrays.arrays
    assert book.requests.find_array(2, "a", arrays.digest(sent)) is sent
    assert book.requests.find_array(3, "a", digests[1][0]) is None


def test_a_request_that_is_withdrawn_while_it_is_written_ends_early(book: Book) -> None:
    request = book.ask(2, "a")
    frames = book.requests.frames(2, "a")
    next(frames)
    book.requests.withdraw(request)
    assert [parse_frame(frame).withdraw.request_id for frame in frames] == ["a"]
    assert not request.bytes_down >= request.message.count_bytes()


def test_queued_frames_keep_no_model_alive(book: Book) -> None:
    request = book.ask(2, "a")
    model = weakref.ref(request.message)
    frames = book.requests.frames(2, "a")
    book.requests.withdraw(request)
    del request
    assert model() is None
    assert list(frames) == []


def test_an_answer_that_is_not_awaited_is_recognized(book: Book) -> None:
    request = book.ask(2, "a")
    book.requests.withdraw(request)
    assert not book.requests.find(2, "a")
    assert not book.requests.settle(2, "a", RecordDict(), 0)
    assert not book.requests.settle(3, "never asked", RecordDict(), 0)
    assert not request.done.done()


def test_withdrawing_one_of_two_equal_requests_leaves_the_other(book: Book) -> None:
    first = book.ask(2, "a")
    second = book.ask(2, "a")
    assert not book.requests.withdraw(first)
    assert book.requests.find(2, "a")
    assert book.requests.withdraw(second)
    assert not book.requests.withdraw(second)


def test_a_late_withdrawal_leaves_a_repeated_request_alone(book: Book) -> None:
    first = book.ask(2, "a")
    book.requests.settle(2, "a", RecordDict(), 0)
    book.ask(2, "a")
    assert not book.requests.withdraw(first)
    assert book.requests.find(2, "a")


def test_the_requests_of_a_node_that_is_given_up_end_without_an_answer(book: Book) -> None:
    lost = [book.ask(2, "a"), book.ask(2, "b")]
    other = book.ask(3, "a")
    book.requests.give_up(2)
    assert [request.done.result(0) for request in lost] == [None, None]
    assert not other.done.done()
    book.requests.give_up(2)


def test_a_reply_may_refer_to_what_its_node_was_sent_or_has_sent_and_to_nothing_else(book: Book) -> None:
    request = book.ask(2, "a")
    other = Request(3, encode(RecordDict({"arrays": pack({"c": np.full(4, 7.0)})}), request_id="a"))
    book.requests.add(other)
    sent, secret = request.message.arrays.arrays[0], other.message.arrays.arrays[0]
    arrived = arrays.pack(np.full(5, 2.0))
    book.requests.keep_arrived(2, "a", [arrived])
    for array in (sent, arrived):
        assert book.requests.find_array(2, "a", arrays.digest(array)) is array
        assert book.requests.find_array(3, "a", arrays.digest(array)) is None
    assert book.requests.find_array(2, "a", arrays.digest(secret)) is None
    assert book.requests.find_array(2, "b", arrays.digest(sent)) is None


def test_what_arrived_of_a_reply_is_released_with_its_request(book: Book) -> None:
    request = book.ask(2, "a")
    array = arrays.pack(np.ones(3))
    kept = weakref.ref(array)
    book.requests.keep_arrived(2, "a", [array])
    del array
    assert kept() is not None
    book.requests.withdraw(request)
    del request
    assert kept() is None


def test_an_error_of_the_server_ends_every_wait(book: Book) -> None:
    lost = [book.ask(2, "a"), book.ask(3, "b")]
    book.requests.fail(DataError("RUNS_DIR=/full: No space left on device"))
    for request in lost:
        with pytest.raises(DataError, match="No space left"):
            request.done.result(0)
    assert not book.requests.awaits(2)
