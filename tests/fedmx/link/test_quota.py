"""How much a node may send on one stream."""

from dataclasses import dataclass

import pytest

from fedmx.errors import ProtocolError
from fedmx.link import silence
from fedmx.link.quota import Quota


@dataclass
class Clock:
    """A clock that the test sets."""

    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


def test_replies_are_limited_to_the_requests_and_one_more() -> None:
    quota = Quota()
    quota.count_request("a")
    for _ in range(2):
        quota.count_reply()
    with pytest.raises(ProtocolError):
        quota.count_reply()


def test_a_message_may_lack_arrays_once_each_time_it_is_asked() -> None:
    quota = Quota()
    for _ in range(3):
        quota.count_request("a")
        quota.count_missing("a")
    with pytest.raises(ProtocolError):
        quota.count_missing("a")


def test_a_node_may_lack_no_more_messages_than_it_was_asked_and_one_more() -> None:
    quota = Quota()
    quota.count_request("a")
    for request_id in ("a", "b"):
        quota.count_missing(request_id)
    with pytest.raises(ProtocolError):
        quota.count_missing("c")


def test_signs_of_life_may_come_twice_as_often_as_needed_and_two_early() -> None:
    clock = Clock()
    quota = Quota(clock)
    for _ in range(2):
        quota.count_sign_of_life()
    with pytest.raises(ProtocolError, match=r"^3 frames alive; expected one in 10 s$"):
        quota.count_sign_of_life()
    clock.now += silence.SIGN_AFTER_S
    quota.count_sign_of_life()
    with pytest.raises(ProtocolError):
        quota.count_sign_of_life()


def test_bytes_are_counted_since_they_were_taken() -> None:
    quota = Quota()
    quota.count_bytes(3)
    quota.count_bytes(4)
    assert quota.take_bytes_up() == 7
    assert quota.take_bytes_up() == 0
