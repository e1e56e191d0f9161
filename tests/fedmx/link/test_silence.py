"""A peer is gone if no byte arrives from it, and present as long as bytes arrive, however slowly."""

import math
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from fedmx.link import connections, silence
from fedmx.link.connections import Connection, Connections
from fedmx.link.silence import Silence, Watchdog
from fedmx.values import Address
from tests.bounds import HANG_S


def found(ages: Mapping[tuple[str, int], float]) -> Connections:
    """Return connections whose newest bytes have these ages."""
    return {peer: Connection(age, 0, 0, 0) for peer, age in ages.items()}


def find_newest(given: Connections) -> float:
    return min((one.age_s for one in given.values()), default=math.inf)


def never() -> Connections:
    """Nothing has ever arrived, as far as the kernel knows."""
    return {}


def count_checks(one: Silence, measure: Callable[[], Connections] = never) -> int:
    """Check every second until the other end is gone; return the number of checks."""
    return next(count for count in range(1, 1000) if one.check(1.0, measure))


def test_without_any_byte_the_other_end_is_gone_after_thirty_seconds() -> None:
    assert count_checks(Silence(find_newest)) == 30


def test_each_frame_resets_the_count() -> None:
    one = Silence(find_newest)
    for _ in range(10):
        assert not any(one.check(1.0, never) for _ in range(29))
        one.end()
    assert count_checks(one) == 30


def test_recent_bytes_count_although_no_frame_is_complete() -> None:
    ages = iter([4.0, 29.0, 45.0])
    assert count_checks(Silence(find_newest), lambda: found({("x", 1): next(ages)})) == 30 + 26 + 1


def test_a_process_that_was_suspended_first_sees_what_arrived_meanwhile() -> None:
    assert not Silence(find_newest).check(3600.0, lambda: found({("x", 1): 0.2}))


def test_the_kernel_is_asked_only_if_no_frame_arrived() -> None:
    asked: list[int] = []

    def ask() -> Connections:
        asked.append(1)
        return {}

    one = Silence(find_newest)
    for _ in range(29):
        one.check(1.0, ask)
    assert asked == []


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Both ends of a connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        near = socket.create_connection(listener.getsockname())
        far, _ = listener.accept()
    with near, far:
        yield near, far


def test_the_kernel_reports_the_age_of_the_newest_bytes_from_a_peer(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    near, far = pair
    peer = far.getsockname()
    far.sendall(b"x")
    near.recv(1)
    # What is measured is time.
    time.sleep(0.5)
    old = connections.measure()[peer].age_s
    assert 0.4 < old < math.inf
    began = time.monotonic()
    far.sendall(b"x")
    near.recv(1)
    assert connections.measure()[peer].age_s < 0.4 + time.monotonic() - began


def count_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_asking_the_kernel_leaves_all_descriptors_unchanged(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    near, far = pair
    before = count_descriptors()
    for _ in range(5):
        assert far.getsockname() in connections.measure()
    assert count_descriptors() == before
    far.sendall(b"still there")
    assert near.recv(100) == b"still there"


@pytest.mark.parametrize(
    ("name", "address"),
    [
        ("ipv4:10.1.2.3:50000", ("10.1.2.3", 50000)),
        ("ipv6:%5B::1%5D:50000", ("::1", 50000)),
        ("ipv6:[fe80::1]:7", ("fe80::1", 7)),
        ("ipv6:%5Bfe80::1%252%5D:7", ("fe80::1", 7)),
        ("unix:", ("", 0)),
        ("nonsense", ("", 0)),
    ],
)
def test_a_peers_grpc_name_is_parsed(name: str, address: tuple[str, int]) -> None:
    assert connections.parse_peer(name) == address


@pytest.mark.parametrize(
    ("ages", "age"),
    [
        ({("127.0.0.1", 80): 40.0, ("192.0.2.1", 80): 1.0}, 40.0),
        ({("127.0.0.1", 80): 40.0, ("127.0.0.1", 81): 1.0}, 40.0),
        ({("127.0.0.1", 80): 40.0, ("127.0.0.2", 80): 30.0}, 40.0),
        ({("192.0.2.1", 80): 1.0, ("192.0.2.2", 80): 2.0, ("192.0.2.1", 81): 0.5}, 1.0),
        ({("192.0.2.1", 81): 0.5}, math.inf),
    ],
    ids=["another host", "another port", "another address", "an address that changed", "no connection"],
)
def test_the_age_is_that_of_the_connection_to_the_servers_host_and_port(
    ages: Mapping[tuple[str, int], float], age: float
) -> None:
    assert silence.find_age_of_host(found(ages), Address("127.0.0.1", 80)) == age


def test_a_host_that_cannot_be_looked_up_any_more_is_found_by_its_port() -> None:
    ages = {("192.0.2.1", 80): 3.0, ("192.0.2.1", 81): 0.5}
    assert silence.find_age_of_host(found(ages), Address("does-not-exist.invalid", 80)) == 3.0


def test_a_watchdog_ends_a_silent_stream_once_and_none_after_it_was_stopped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(silence, "_CHECK_PERIOD_S", 0.01)
    monkeypatch.setattr(silence, "LIMIT_S", 0.05)
    ended = threading.Event()
    for is_stopped in (True, False):
        dog = Watchdog(Silence(lambda _: math.inf), ended.set)
        if is_stopped:
            dog.stop()
        dog.start()
        if is_stopped:
            for thread in threading.enumerate():
                if thread.name == "silence":
                    thread.join(HANG_S)
        else:
            assert ended.wait(HANG_S)
        assert dog.has_fired is not is_stopped
        assert ended.is_set() is not is_stopped
