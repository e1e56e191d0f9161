"""Bookkeeping on both ends: requests that are awaited, requests that are queued, replies that are cached."""

import threading
import weakref
from dataclasses import dataclass, field

import numpy as np
import pytest
from flwr.app import Error, RecordDict

from fedmx import arrays
from fedmx.errors import DataError, FederationError, TrainingFailedError, UnreachableError
from fedmx.link.inbox import Inbox
from fedmx.link.reply_cache import Reply, ReplyCache
from fedmx.link.requests import Answer, Request, Requests, Transfer
from fedmx.link.turns import MOST_AT_ONCE
from fedmx.protocol import link_pb2 as pb
from fedmx.protocol.decode import Received
from fedmx.protocol.encode import EncodedMessage, parse_frame
from tests.bounds import HANG_S
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


def received(request_id: str) -> Received:
    return Received(pb.Header(request_id=request_id), RecordDict())


# The server's side


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


def test_replies_wait_for_their_turn_if_many_nodes_are_asked(book: Book) -> None:
    waits = []
    for node_id in range(MOST_AT_ONCE + 1):
        book.ask(node_id, "a")
        waits.append(parse_frame(next(book.requests.frames(0, "a"))).begin.reply_waits)
    assert waits == [False] * MOST_AT_ONCE + [True]


def test_frames_that_are_sent_twice_are_counted_twice(book: Book) -> None:
    request = book.ask(2, "a")
    sent = [len(frame) for _ in range(2) for frame in book.requests.frames(2, "a")]
    assert request.bytes_down == sum(sent)


def test_a_request_that_is_withdrawn_before_its_turn_is_not_sent(book: Book) -> None:
    request = book.ask(2, "a")
    frames = book.requests.frames(2, "a")
    assert book.requests.withdraw(request)
    assert list(frames) == []


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
    assert not book.requests.is_waiting(2, "a")
    assert not book.requests.settle(2, "a", RecordDict(), 0)
    assert not book.requests.settle(3, "never asked", RecordDict(), 0)
    assert not request.done.done()


def test_withdrawing_one_of_two_equal_requests_leaves_the_other(book: Book) -> None:
    first = book.ask(2, "a")
    second = book.ask(2, "a")
    assert not book.requests.withdraw(first)
    assert book.requests.is_waiting(2, "a")
    assert book.requests.withdraw(second)
    assert not book.requests.withdraw(second)


def test_a_late_withdrawal_leaves_a_repeated_request_alone(book: Book) -> None:
    first = book.ask(2, "a")
    book.requests.settle(2, "a", RecordDict(), 0)
    book.ask(2, "a")
    assert not book.requests.withdraw(first)
    assert book.requests.is_waiting(2, "a")


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


# The node's side


def take(inbox: Inbox) -> str:
    request = inbox.take()
    assert request is not None
    return request.request_id


def test_requests_are_worked_on_in_order() -> None:
    inbox = Inbox()
    for request_id in "ab":
        inbox.put(received(request_id))
    assert [take(inbox), take(inbox)] == ["a", "b"]


def test_a_request_that_is_queued_or_worked_on_is_not_queued_twice() -> None:
    inbox = Inbox()
    for request_id in "abab":
        inbox.put(received(request_id))
    assert take(inbox) == "a"
    inbox.put(received("a"))
    inbox.put(received("b"))
    inbox.finish()
    assert take(inbox) == "b"
    inbox.put(received("c"))
    inbox.finish()
    assert take(inbox) == "c"


def test_a_request_may_be_repeated_once_it_is_finished() -> None:
    inbox = Inbox()
    inbox.put(received("a"))
    take(inbox)
    inbox.finish()
    inbox.put(received("a"))
    assert take(inbox) == "a"


def test_a_withdrawn_request_is_not_begun() -> None:
    inbox = Inbox()
    for request_id in "abc":
        inbox.put(received(request_id))
    inbox.withdraw("a")
    inbox.withdraw("unknown")
    assert take(inbox) == "b"
    # It is worked on, and finished all the same.
    inbox.withdraw("b")
    inbox.put(received("b"))
    assert take(inbox) == "c"


def test_requests_that_are_queued_at_the_end_are_not_begun() -> None:
    inbox = Inbox()
    inbox.put(received("a"))
    inbox.end(None)
    assert inbox.take() is None


def test_queued_requests_of_a_broken_stream_wait_until_the_server_repeats_them() -> None:
    inbox = Inbox()
    for request_id in "abc":
        inbox.put(received(request_id))
    take(inbox)
    inbox.suspend()
    assert inbox.list_requests() == ["a", "b", "c"]
    # It is worked on: its answer goes to the stream that is up by then.
    assert inbox.repeat("a")
    assert inbox.repeat("c")
    assert not inbox.repeat("unknown")
    inbox.withdraw("b")
    inbox.put(received("d"))
    inbox.finish()
    assert [take(inbox), take(inbox)] == ["c", "d"]
    assert inbox.list_requests() == ["d"]


def test_a_request_that_was_not_repeated_on_one_stream_is_forgotten_on_the_next() -> None:
    inbox = Inbox()
    inbox.put(received("a"))
    inbox.suspend()
    inbox.suspend()
    assert not inbox.repeat("a")
    assert inbox.list_requests() == []


@pytest.mark.parametrize("error", [UnreachableError("gone"), TrainingFailedError("lost")])
def test_an_end_with_an_error_raises_it(error: FederationError) -> None:
    inbox = Inbox()
    inbox.put(received("a"))
    inbox.end(error)
    with pytest.raises(type(error), match=str(error)):
        inbox.take()


@pytest.mark.parametrize("last", ["request", "end"])
def test_a_waiting_thread_is_woken(last: str) -> None:
    inbox = Inbox()
    received_requests: list[Received | None] = []
    worker = threading.Thread(target=lambda: received_requests.append(inbox.take()), daemon=True)
    worker.start()
    if last == "request":
        inbox.put(received("a"))
    else:
        inbox.end(None)
    worker.join(HANG_S)
    assert [item and item.request_id for item in received_requests] == (
        ["a"] if last == "request" else [None]
    )


def header(step: str, number: int, request_id: str = "", run_id: int = 1) -> pb.Header:
    return pb.Header(
        message_type=step,
        group_id=str(number),
        run_id=run_id,
        request_id=request_id or f"{run_id}/{number}/{step}",
    )


def is_cached(cache: ReplyCache, request: pb.Header) -> bool:
    return cache.find(request.request_id) is not None


def answer(cache: ReplyCache, *headers: pb.Header) -> list[bool]:
    """Answer requests as a node does; return for each whether its reply was cached."""
    hits = []
    for request in headers:
        hits.append(is_cached(cache, request))
        if not hits[-1]:
            cache.make_room(request)
            cache.add(Reply(request, make_message(request.request_id), frozenset()))
    return hits


QUERY = header("query", 0)
TRAIN = header("train", 1)
EVALUATE = header("evaluate", 1)


def test_the_replies_of_a_round_are_cached_until_the_next() -> None:
    cache = ReplyCache()
    assert answer(cache, TRAIN, EVALUATE, TRAIN, EVALUATE) == [False, False, True, True]
    assert answer(cache, header("train", 2), TRAIN, EVALUATE) == [False] * 3


def test_an_evaluation_of_another_round_or_run_releases_the_update() -> None:
    for other in (header("evaluate", 2), header("evaluate", 1, run_id=2)):
        cache = ReplyCache()
        assert answer(cache, TRAIN, other) == [False, False]
        assert not is_cached(cache, TRAIN)


def test_a_query_releases_nothing_but_the_query_before() -> None:
    cache = ReplyCache()
    other = header("query", 0, run_id=2)
    assert answer(cache, TRAIN, EVALUATE, QUERY, QUERY, other) == [False, False, False, True, False]
    assert not is_cached(cache, QUERY)
    assert answer(cache, other, TRAIN, EVALUATE) == [True] * 3


def test_a_reply_that_carries_a_model_is_released_before_the_next_is_computed() -> None:
    cache = ReplyCache()
    answer(cache, QUERY)
    cache.make_room(TRAIN)
    assert not is_cached(cache, QUERY)
    answer(cache, TRAIN)
    cache.make_room(header("train", 1, request_id="another partition's"))
    assert not is_cached(cache, TRAIN)
