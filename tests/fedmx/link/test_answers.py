"""Bookkeeping of a node: requests that are queued, and replies that are cached."""

import threading

import pytest
from flwr.app import RecordDict

from fedmx.errors import FederationError, TrainingFailedError, UnreachableError
from fedmx.link.inbox import Inbox
from fedmx.link.reply_cache import Reply, ReplyCache
from fedmx.protocol import link_pb2 as pb
from fedmx.protocol.decode import Received
from fedmx.protocol.encode import parse_frame
from tests.bounds import HANG_S
from tests.fedmx.link.test_requests import make_message


def received(request_id: str) -> Received:
    return Received(pb.Header(request_id=request_id), RecordDict())


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


def test_the_reply_to_a_request_that_was_withdrawn_is_awaited_only_if_it_was_repeated() -> None:
    inbox = Inbox()
    ends = []
    for again in (lambda: None, lambda: inbox.put(received("a")), lambda: inbox.repeat("a")):
        inbox.put(received("a"))
        take(inbox)
        inbox.withdraw("a")
        again()
        ends.append(inbox.finish())
    assert ends == [False, True, True]


def test_a_reply_that_is_withdrawn_ends_early_and_is_sent_whole_if_it_is_asked_for_again() -> None:
    message = make_message("a")
    whole = list(message.frames())
    cache = ReplyCache()
    cache.add(reply := Reply(pb.Header(request_id="a"), message))
    frames = reply.frames()
    assert next(frames) == whole[0]
    cache.withdraw("a")
    assert [parse_frame(frame).withdraw.request_id for frame in frames] == ["a"]
    assert list(reply.frames()) == whole
    frames = reply.frames()
    cache.withdraw("a")
    assert list(frames) == [], "it was not begun"


def test_a_reply_that_is_to_be_sent_is_not_changed_by_a_repeat() -> None:
    message = make_message("a")
    cache = ReplyCache()
    cache.add(reply := Reply(pb.Header(request_id="a"), message))
    frames = reply.frames()
    repeated = cache.repeat("a")
    assert list(frames) == list(message.frames())
    assert [list(parse_frame(frame).begin.left_out) for frame in repeated or ()] == [[0, 1]]


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
